"""The protocol of turns as a game against hypothesis.

Whatever happens, every message is answered once, in order, by a turn that one replica owned at a
time. Persistence branches come and go at any moment, one at a time, and nothing answers them.
Checkpoints come at any moment, and disturb nothing.
"""

from collections import Counter, defaultdict

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from schemas.base import RunId
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    MessageReceived,
    ReplySent,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
)
from schemas.run import ModelReturned
from services.channel.service import TRIGGERS
from services.compactor import summary
from services.compactor.decider import part
from services.errors import ModelUnavailable
from services.runtime.config import PersistenceSettings
from services.runtime.conversation import calls_for_turn
from services.runtime.event_log import Recorded
from tests.support.builders import ANA, BEN, branch_concluded, cancel, message
from tests.support.game import INDEX, NUMBER, STEPS, Game, folded
from tests.support.replicas import Due, Replica
from tests.support.scripted_model import calls, does, says

APOLOGY = "I could not answer this"
MOODS = {
    "reply": lambda: does(calls("reply", text="answer")),
    "talk": lambda: says("answer"),
    "skip": lambda: does(calls("skip")),
    "delegate": lambda: does(calls("branch", task="think"), calls("reply", text="answer")),
    "only delegate": lambda: does(calls("branch", task="think")),
    "away": lambda: ModelUnavailable("busy"),
}


class TurnProtocol(Game):
    """Plays on the fake log; a subclass may bring another."""

    durables = {"channel": TRIGGERS}  # noqa: RUF012 - not changed
    persistence = PersistenceSettings(messages=2, idle_s=1.0, reflection_cooldown_s=0)

    def __init__(self) -> None:
        super().__init__()
        self.said = 0
        self.mood = "reply"

    def answer(self, request):
        own = [m for m in request.messages if m.role == "assistant" and m.tool_calls]
        if self.mood == "only delegate" and own and "branch" in str(own[-1].tool_calls):
            return says("answer")
        return MOODS[self.mood]()

    # -- what happens ------------------------------------------------------------------------

    @initialize(turns=st.integers(2, 6))
    def they_have_talked_before(self, turns):
        for number in range(turns):
            turn = RunId(f"old-{number}")
            self.append(message(message_id=f"old-{number}"))
            asked = self.events()[-1].envelope
            for event in (
                TurnStarted(turn_id=turn, owner="old"),
                ReplySent(turn_id=turn, text="answer"),
                TurnCompleted(turn_id=turn, handled=(asked.id,)),
            ):
                envelope = self.shared.outside.seal(event, cause=asked.id, turn=turn)
                self.run(self.shared.log.append(str(self.subject), envelope))

    @rule(group=st.booleans(), ben=st.booleans())
    def somebody_says_something(self, group, ben):
        self.said += 1
        event = message(message_id=f"m{self.said}", author=BEN if ben else ANA, group=group)
        self.append(event)

    @precondition(lambda self: self.said)
    @rule(index=INDEX)
    def a_platform_repeats_a_message(self, index):
        self.append(message(message_id=f"m{1 + index % self.said}"))

    @rule(mood=st.sampled_from(sorted(MOODS)))
    def the_model_changes_its_mood(self, mood):
        self.mood = mood

    @precondition(lambda self: self.state().runs)
    @rule(which=INDEX)
    def a_branch_concludes(self, which):
        runs = self.state().runs
        self.append(branch_concluded(runs[which % len(runs)].run_id))

    @precondition(lambda self: self.said)
    @rule(replica=NUMBER, steps=STEPS)
    def a_replica_looks_for_what_is_to_be_kept(self, replica, steps):
        due = Due("persistence", self.events()[-1])
        self.acknowledged.discard(due.key)  # a loop, to which nothing is delivered
        self.run(self.start(due, self.replicas[replica], steps))

    @precondition(lambda self: self.state().unsaved.branch)
    @rule(outcome=st.sampled_from(["succeeded", "partial", "failed", "cancelled"]))
    def a_persistence_branch_concludes(self, outcome):
        run_id = self.state().unsaved.branch.run_id
        if outcome == "cancelled":
            self.append(cancel(run_id))
        self.append(branch_concluded(run_id, outcome=outcome))

    @rule()
    def a_moment_passes(self):
        self.shared.clock.advance(2)

    @precondition(lambda self: self.state().failed)
    @rule(which=INDEX)
    def a_person_asks_for_a_failed_turn_again(self, which):
        failed = self.state().failed
        turn_id, _ = failed[which % len(failed)]
        self.append(RetryRequested(turn_id=turn_id))

    @rule(share=st.floats(0, 0.2))
    def a_checkpoint_is_cut(self, share):
        found = part(self.state(), "emergency", share, by_number=True, kept=0)
        if found is not None:
            self.append(summary.emergency(found))
            assert self.state().covered == found.until

    @precondition(lambda self: not self.handlings and self.state().turn)
    @rule(replica=NUMBER)
    def an_open_turn_that_nobody_holds_is_swept_up(self, replica):
        self.run(self.sweep(replica))

    # -- what must hold ----------------------------------------------------------------------

    @invariant()
    def turns_are_as_they_should_be(self):
        if self.looks_often:
            check(self.events(), self.shared.stored_by)
            check_looks(self.events())

    def teardown(self):
        try:
            self.mood = "reply"
            self.run(self.come_to_rest())
            events = self.events()
            check(events, self.shared.stored_by)
            check_looks(events)
            state = folded(events)
            assert state.turn is None, f"a turn is still open: {state.turn}"
            most = self.shared.settings.max_retriggers
            assert not calls_for_turn(state, max_retriggers=most), "something was left undone"
            check_steps(self.events(self.subject.of("turn")))
        finally:
            self.over()

    async def sweep_up(self) -> bool:
        if (await self.newest()).turn is None:
            return False
        await self.sweep(0)
        return True

    async def sweep(self, replica: int) -> None:
        """Hand an open turn on as `services.runtime.sweep` does: with the event of its holder."""
        events = await self.read()
        turn = folded(events).turn
        holder = next(r for r in events if r.envelope.id == turn.holder)
        due = Due("channel", holder, 2)
        self.acknowledged.discard(due.key)  # a delivery that no durable knows of
        await self.start(due, self.replicas[replica])


def check_steps(steps: list[Recorded]) -> None:
    """Make sure that no answer of a model was recorded twice."""
    returned = Counter(
        (r.event.run_id, r.event.step) for r in steps if isinstance(r.event, ModelReturned)
    )
    assert {*returned.values()} <= {1}, returned


def check_looks(events: list[Recorded]) -> None:
    """Make sure that persistence branches are one at a time, and each has something new before."""
    at_work, new, seen = None, 0, set()
    for recorded in events:
        match recorded.event:
            case MessageReceived(message_id=message_id) if message_id not in seen:
                seen.add(message_id)
                new += 1
            case BranchRequested(run_id=run_id, purpose="persistence"):
                assert at_work is None, f"two are at work at {recorded.seq}"
                assert new, f"nothing was said before {recorded.seq}"
                assert recorded.envelope.turn is None, f"not of a turn: {recorded.seq}"
                at_work, new = run_id, 0
            case BranchConcluded(run_id=run_id) if run_id == at_work:
                at_work = None
    runs = [r.event.run_id for r in events if _is_silent(r)]
    assert len(runs) == len(set(runs)), "one was requested twice"


def _is_silent(recorded: Recorded) -> bool:
    event = recorded.event
    return isinstance(event, BranchRequested) and event.purpose == "persistence"


def check(events: list[Recorded], stored_by: dict[int, Replica]) -> None:
    """Hold a channel stream against what must be true of it, without the fold under test."""
    owner, turn, attempt = None, None, 0
    messages: dict[str, Recorded] = {}
    answered: list[tuple[int, str]] = []
    retries: Counter[str] = Counter()
    handled_by: dict[str, tuple[str, ...]] = {}
    replies: dict[str, list[str]] = defaultdict(list)
    for recorded in (each for each in events if not _is_silent(each)):
        event, by = recorded.event, stored_by.get(recorded.seq)
        match event:
            case TurnStarted(turn_id=turn_id):
                assert turn is None, f"two turns are open at {recorded.seq}"
                owner, turn, attempt = by, turn_id, 1
            case TurnResumed(turn_id=turn_id):
                assert (turn_id, event.attempt) == (turn, attempt + 1), recorded.seq
                owner, attempt = by, event.attempt
            case ReplySent() | BranchRequested() | TurnCompleted() | TurnFailed():
                assert recorded.envelope.turn == turn, f"outside of its turn: {recorded.seq}"
                assert None in (by, owner) or by is owner, f"not by its owner: {recorded.seq}"
        match event:
            case ReplySent(turn_id=turn_id, text=text):
                replies[turn_id].append(text)
            case MessageReceived(message_id=message_id):
                messages.setdefault(message_id, recorded)
            case (
                TurnCompleted(turn_id=turn_id, handled=handled)
                | TurnFailed(turn_id=turn_id, handled=handled)
            ):
                turn = None
                handled_by[turn_id] = handled
                answered += [(recorded.seq, id_) for id_ in handled]
            case RetryRequested(turn_id=turn_id):
                retries.update(handled_by.get(turn_id, ()))
    for texts in replies.values():
        assert sum(not text.startswith(APOLOGY) for text in texts) <= 1, texts
        assert sum(text.startswith(APOLOGY) for text in texts) <= 1, texts
    times = Counter(id_ for _, id_ in answered)
    for id_, count in times.items():
        assert count <= 1 + retries[id_], f"{id_} was handled {count} times"
    seqs = {recorded.envelope.id: recorded.seq for recorded in events}
    first = [seqs[id_] for _, id_ in answered if not retries[id_]]
    assert first == sorted(first), "not in order"
    known = {recorded.envelope.id for recorded in messages.values()}
    assert {*times} <= known | _results(events), "something was handled that nobody said"


def _results(events: list[Recorded]) -> set[str]:
    """Return the ids of the conclusions that somebody waits for."""
    silent = {r.event.run_id for r in events if _is_silent(r)}
    ended = [r for r in events if isinstance(r.event, BranchConcluded)]
    return {r.envelope.id for r in ended if r.event.run_id not in silent}
