"""The protocol of turns as a game against hypothesis: replicas, pauses, crashes, redeliveries.

Every replica stands still before and after each append and each model call, until it is told to go
on; meanwhile others act, deliveries run out, and processes die. Whatever happens, every message is
answered once, in order, by a turn that one replica owned at a time.
"""

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs

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
from schemas.subjects import Subject
from services.channel.service import TRIGGERS
from services.errors import ModelUnavailable
from services.runtime import ids
from services.runtime.consumer import settle
from services.runtime.conversation import Conversation, calls_for_turn, evolve
from services.runtime.event_log import Delivery, EventLog, Recorded
from tests.support.builders import ANA, BEN, branch_concluded, message
from tests.support.fake_log import FakeLog
from tests.support.replicas import Due, Killed, Replica, Shared
from tests.support.scripted_model import calls, does, says

REPLICAS = 3
APOLOGY = "I could not answer this"
MOODS = {
    "reply": lambda: does(calls("reply", text="answer")),
    "talk": lambda: says("answer"),
    "skip": lambda: does(calls("skip")),
    "delegate": lambda: does(calls("branch", task="think"), calls("reply", text="answer")),
    "only delegate": lambda: does(calls("branch", task="think")),
    "away": lambda: ModelUnavailable("busy"),
}
INDEX = st.integers(0, 99)
NUMBER = st.integers(0, REPLICAS - 1)
STEPS = st.integers(0, 16)
_HANDLING: ContextVar["Handling | None"] = ContextVar("handling", default=None)


@dataclass
class Handling:
    """One delivery in the hands of one replica."""

    due: Due
    replica: Replica
    gate: asyncio.Future | None = None
    task: asyncio.Task | None = None

    @property
    def stands_still(self) -> bool:
        return self.gate is not None and not self.gate.done()


class TurnProtocol(RuleBasedStateMachine):
    """Plays on the fake log; a subclass may bring another."""

    pause_s = 0.0
    """How long to wait for replicas to come to their next point."""
    looks_often = True
    """Whether the stream is looked at after every move, and not only at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.quiet = capture_logs()
        self.quiet.__enter__()
        self.subject = Subject("acme", "atlas", "portal", f"c-{ids.new()}")
        self.shared = Shared(self.answer, log=self.run(self.open_log()))
        self.shared.hook = self.stand_still
        self.replicas = [Replica(self.shared) for _ in range(REPLICAS)]
        self.handlings: list[Handling] = []
        self.owed: list[Due] = []
        self.acknowledged: set[int] = set()
        self.seen = 0
        self.said = 0
        self.mood = "reply"
        self.run(self.shared.define())

    async def open_log(self) -> EventLog:
        return FakeLog()

    async def close_log(self) -> None:
        pass

    def run(self, work):
        return self.loop.run_until_complete(work)

    def answer(self, request):
        own = [m for m in request.messages if m.role == "assistant" and m.tool_calls]
        if self.mood == "only delegate" and own and "branch" in str(own[-1].tool_calls):
            return says("answer")
        return MOODS[self.mood]()

    # -- what happens ------------------------------------------------------------------------

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

    @precondition(lambda self: self.owed)
    @rule(which=INDEX, replica=NUMBER, steps=STEPS)
    def a_replica_gets_a_delivery(self, which, replica, steps):
        due = self.owed.pop(which % len(self.owed))
        self.run(self.start(due, self.replicas[replica], steps))

    @precondition(lambda self: self.standing)
    @rule(which=INDEX, steps=STEPS)
    def a_replica_goes_on(self, which, steps):
        self.run(self.go_on(self.standing[which % len(self.standing)], steps))

    @precondition(lambda self: self.standing)
    @rule(which=INDEX, steps=STEPS)
    def another_replica_goes_on(self, which, steps):
        self.a_replica_goes_on(which, steps)

    @precondition(lambda self: self.handlings)
    @rule(which=INDEX, other=st.integers(1, REPLICAS - 1), steps=STEPS)
    def a_delivery_runs_out_while_its_replica_stands_still(self, which, other, steps):
        handling = self.handlings[which % len(self.handlings)]
        if handling.due.recorded.seq in self.acknowledged:
            return
        number = self.replicas.index(handling.replica)
        due = replace(handling.due, attempt=handling.due.attempt + 1)
        self.run(self.start(due, self.replicas[(number + other) % REPLICAS], steps))

    @rule(replica=NUMBER)
    def a_replica_dies(self, replica):
        self.run(self.kill(replica))

    @precondition(lambda self: isinstance(self.shared.log, FakeLog))
    @rule()
    def the_log_forgets_the_ids_of_old_events(self):
        self.shared.log._ids.clear()

    @precondition(lambda self: self.state().runs)
    @rule(which=INDEX)
    def a_branch_concludes(self, which):
        runs = self.state().runs
        self.append(branch_concluded(runs[which % len(runs)].run_id))

    @precondition(lambda self: self.state().failed)
    @rule(which=INDEX)
    def a_person_asks_for_a_failed_turn_again(self, which):
        failed = self.state().failed
        turn_id, _ = failed[which % len(failed)]
        self.append(RetryRequested(turn_id=turn_id))

    @precondition(lambda self: not self.handlings and self.state().turn)
    @rule(replica=NUMBER)
    def an_open_turn_that_nobody_holds_is_swept_up(self, replica):
        self.run(self.sweep(replica))

    # -- what must hold ----------------------------------------------------------------------

    @invariant()
    def turns_are_as_they_should_be(self):
        if self.looks_often:
            check(self.events(), self.shared.stored_by)

    def teardown(self):
        try:
            self.run(self.come_to_rest())
            events = self.events()
            check(events, self.shared.stored_by)
            state = folded(events)
            assert state.turn is None, f"a turn is still open: {state.turn}"
            most = self.shared.settings.max_retriggers
            assert not calls_for_turn(state, max_retriggers=most), "something was left undone"
            self.run(self.check_steps())
        finally:
            self.run(self.close_log())
            self.quiet.__exit__(None, None, None)
            self.loop.close()

    async def come_to_rest(self) -> None:
        """Let everybody go on, one after the other, until nothing is left to be done."""
        self.mood = "reply"
        for _ in range(400):
            await self.look()
            if handling := next((h for h in self.handlings if h.stands_still), None):
                await self.go_on(handling)
            elif self.owed:
                await self.start(self.owed.pop(0), self.replicas[0])
            elif (await self.newest()).turn is not None:
                await self.sweep(0)
            else:
                return
        raise AssertionError("it does not come to rest")

    async def check_steps(self) -> None:
        """Make sure that no answer of a model was recorded twice."""
        returned = Counter()
        async for recorded in self.shared.log.read(str(self.subject.of("turn")), fresh=True):
            if isinstance(recorded.event, ModelReturned):
                returned[recorded.event.run_id, recorded.event.step] += 1
        assert {*returned.values()} <= {1}, returned

    # -- moves -------------------------------------------------------------------------------

    @property
    def standing(self) -> list[Handling]:
        return [handling for handling in self.handlings if handling.stands_still]

    def append(self, event) -> None:
        self.run(self.shared.log.append(str(self.subject), self.shared.outside.seal(event)))
        self.run(self.look())

    def events(self) -> list[Recorded]:
        return self.run(self.read())

    async def read(self) -> list[Recorded]:
        return [r async for r in self.shared.log.read(str(self.subject), fresh=True)]

    def state(self) -> Conversation:
        return folded(self.events())

    async def newest(self) -> Conversation:
        return folded(await self.read())

    async def look(self) -> None:
        """Owe the service what is new."""
        async for recorded in self.shared.log.read(str(self.subject), after=self.seen, fresh=True):
            self.seen = recorded.seq
            if recorded.envelope.type in TRIGGERS:
                self.owed.append(Due("channel", recorded))

    def owe_again(self, due: Due) -> None:
        if due.recorded.seq not in self.acknowledged:
            self.owed.append(replace(due, attempt=due.attempt + 1))

    async def start(self, due: Due, replica: Replica, steps: int = 0) -> None:
        if due.recorded.seq in self.acknowledged:
            return
        handling = Handling(due, replica)
        handling.task = asyncio.create_task(self.handle(handling))
        self.handlings.append(handling)
        await self.until_all_stand_still()
        await self.go_on(handling, steps)

    async def handle(self, handling: Handling) -> None:
        _HANDLING.set(handling)
        due, replica = handling.due, handling.replica
        delivery = Delivery(due.recorded, due.attempt)
        verdict = await settle(replica.log, due.durable, delivery, replica.channel.handle)
        if verdict.action == "ack":
            self.acknowledged.add(due.recorded.seq)
            self.owed = [other for other in self.owed if other.recorded.seq != due.recorded.seq]
        else:
            self.owe_again(due)

    async def sweep(self, replica: int) -> None:
        """Hand an open turn on as `services.runtime.sweep` does: with the event of its holder."""
        events = await self.read()
        turn = folded(events).turn
        holder = next(r for r in events if r.envelope.id == turn.holder)
        self.acknowledged.discard(holder.seq)  # a delivery that no durable knows of
        await self.start(Due("channel", holder, 2), self.replicas[replica])

    async def stand_still(self, replica, point) -> None:
        handling = _HANDLING.get()
        if handling is None:
            return
        handling.gate = asyncio.get_running_loop().create_future()
        await handling.gate

    async def go_on(self, handling: Handling, steps: int = 1) -> None:
        for _ in range(steps):
            if not handling.stands_still:
                return
            handling.gate.set_result(None)
            await self.until_all_stand_still()

    async def until_all_stand_still(self) -> None:
        async with asyncio.timeout(20):
            while any(not (h.task.done() or h.stands_still) for h in self.handlings):  # noqa: ASYNC110 - tasks
                await asyncio.sleep(self.pause_s)
        for handling in [h for h in self.handlings if h.task.done()]:
            self.handlings.remove(handling)
            with suppress(Killed, asyncio.CancelledError):
                handling.task.result()
        await self.look()

    async def kill(self, number: int) -> None:
        dead = self.replicas[number]
        dead.kill()
        self.replicas[number] = Replica(self.shared)
        for handling in [h for h in self.handlings if h.replica is dead]:
            handling.task.cancel()
            await asyncio.gather(handling.task, return_exceptions=True)
            self.handlings.remove(handling)
            self.owe_again(handling.due)


def folded(events: list[Recorded]) -> Conversation:
    state = Conversation()
    for recorded in events:
        state = evolve(state, recorded)
    return state


def check(events: list[Recorded], stored_by: dict[int, Replica]) -> None:
    """Hold a channel stream against what must be true of it, without the fold under test."""
    owner, turn, attempt = None, None, 0
    messages: dict[str, Recorded] = {}
    answered: list[tuple[int, str]] = []
    retries: Counter[str] = Counter()
    handled_by: dict[str, tuple[str, ...]] = {}
    replies: dict[str, list[str]] = defaultdict(list)
    for recorded in events:
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
    results = {r.envelope.id for r in events if isinstance(r.event, BranchConcluded)}
    assert {*times} <= known | results, "something was handled that nobody said"
