"""A fork is what the other conversation was, and what is said in it; the rest stays there."""

from functools import partial, reduce

import pytest
from hypothesis import given, settings, strategies as st

from schemas.base import EventId
from schemas.channel import ChannelEvent, ConversationForked
from schemas.subjects import FORK, Subject
from services.errors import Rejected
from services.runtime import lineage, reading_back
from services.runtime.agents import Agent
from services.runtime.conversation import EVERYTHING, Conversation, calls_for_turn, evolve
from services.runtime.conversations import SNAPSHOT_EVERY, Conversations, history
from services.runtime.event_log import Recorded
from services.runtime.forks import Fork, as_there, home
from services.runtime.lineage import DEEPEST, HistoryMissing
from services.runtime.recording import record
from tests.support.builders import (
    BEN,
    CONVERSATION,
    branch,
    branch_concluded,
    caused_by,
    checkpoint,
    compaction,
    forked,
    message,
    persistence,
    reply,
    story,
    turn_completed,
    turn_failed,
    turn_started,
    worker,
    worker_reported,
)
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.replicas import FakeSnapshots
from tests.support.stories import Story

THERE = CONVERSATION._replace(adapter=FORK, conversation="there")
FURTHER = CONVERSATION._replace(adapter=FORK, conversation="further")


def fold(*events, keep=200) -> Conversation:
    """Return the fold of what a fork shares, its first event, and what is said in it."""
    return reduce(partial(evolve, keep=keep), story(*events), Conversation())


def texts(state):
    return [entry.text for entry in state.entries]


# -- the fold ---------------------------------------------------------------------------------


def test_a_fork_begins_with_what_was_said_and_goes_on_by_itself():
    shared = (message("one"), turn_started(), reply("two"), turn_completed("e1"))
    state = fold(*shared, forked("e4"), message("three", message_id="m2"))
    assert texts(state) == ["one", "two", "three"]
    assert [it.id for it in state.unhandled] == ["e6"]
    assert state.fork == Fork(adapter="portal", conversation="general")
    assert state.speaker is not None


def test_what_was_unanswered_is_answered_in_the_fork():
    state = fold(message("one"), forked("e1"))
    assert [it.id for it in state.unhandled] == ["e1"]
    assert calls_for_turn(state, max_retriggers=3)


def test_an_open_turn_is_not_continued_and_what_it_was_about_is_asked_anew():
    state = fold(message(), turn_started(), branch(), forked("e3"))
    assert state.turn is None
    assert state.runs == ()
    assert [it.id for it in state.unhandled] == ["e1"]
    assert texts(state) == ["hello", "recall"]


def test_what_an_open_turn_had_answered_is_not_asked_anew():
    late = message("late", message_id="m2")
    shared = (message("one"), turn_started(), late, reply("to one"))
    state = fold(*shared, forked("e4", handled=(EventId("e1"),)))
    assert texts(state) == ["one", "to one", "late"]
    assert [it.id for it in state.unhandled] == ["e3"]


def test_nothing_that_is_at_work_there_is_at_work_in_the_fork():
    shared = (message(), turn_started(), branch(), worker("w1", interactive=True))
    shared += (turn_completed("e1"), worker_reported("w1"), persistence(), compaction("e1"))
    state = fold(*shared, forked("e8"))
    assert state.runs == ()
    assert state.compaction is None
    assert state.unsaved.branch is None
    assert [it.id for it in state.unhandled] == ["e6"]  # the result that was not told yet
    assert fold(*shared, forked("e8"), branch_concluded()) == fold(
        *shared, forked("e8"), caused_by("e3", branch_concluded())
    )


def test_turns_that_were_given_up_there_cannot_be_retried_in_the_fork():
    state = fold(message(), turn_started(), turn_failed("e1"), forked("e3"))
    assert (state.failed, state.taken, state.aside) == ((), (), ())


def test_checkpoints_are_shared_and_the_next_one_follows_on_them():
    shared = (message("one"), message("two", message_id="m2"), checkpoint("e1"))
    state = fold(*shared, forked("e3"), checkpoint("e2", after="e1"))
    assert [(one.number, one.until) for one in state.checkpoints] == [(1, "e1"), (2, "e2")]


def test_what_is_said_in_a_fork_counts_for_no_persistence():
    shared = [message(str(n), message_id=f"m{n}") for n in range(30)]
    said = [message(str(n), message_id=f"m{n}") for n in range(30, 60)]
    assert fold(*shared, forked("e30"), *said).unsaved == Conversation().unsaved


def test_who_talks_there_is_kept_so_a_group_stays_one():
    state = fold(message(author=BEN, group=True, private=True), forked("e1"))
    assert (state.group, state.private, state.shared) == (True, True, True)
    assert state.present == (BEN,)


def test_a_fork_of_a_fork_keeps_its_model_and_prompt_unless_it_has_others():
    first = forked("e1", model="a/one", prompt="Be brief.")
    again = forked("e2", parent=THERE)
    other = forked("e2", parent=THERE, model="a/two", prompt="")
    kept = fold(message(), first, again).fork
    assert kept == Fork(adapter="portal", conversation="general", model="a/one", prompt="Be brief.")
    assert fold(message(), first, other).fork == Fork(
        adapter="portal", conversation="general", model="a/two", prompt=""
    )


# -- reading it -------------------------------------------------------------------------------


class Bench:
    """A log with conversations in it."""

    def __init__(self) -> None:
        self.log = FakeLog()
        self.snapshots = FakeSnapshots()

    def tell(self, *events, subject=CONVERSATION) -> list[str]:
        """Append events; return their ids."""
        seq = len(self.log.events)
        for told in story(*[message()] * seq, *events, subject=subject)[seq:]:
            self.log.events.append(told)
        return [told.envelope.id for told in self.log.events[seq:]]

    def conversations(self, keep=200) -> Conversations:
        return Conversations(self.log, self.snapshots, keep=keep)


@pytest.fixture
def bench():
    return Bench()


async def test_a_fork_is_read_from_the_other_conversation_up_to_where_it_parts(bench):
    (at, *_) = bench.tell(message("one"), message("not shared", message_id="m2"))
    bench.tell(forked(at), message("two", message_id="m3"), subject=THERE)
    bench.tell(message("nor this", message_id="m4"))
    state = await bench.conversations().newest(THERE)
    assert texts(state) == ["one", "two"]
    assert texts(await bench.conversations().newest(CONVERSATION))[1:] == ["not shared", "nor this"]


async def test_a_fork_at_an_event_of_its_own_sees_what_is_shared(bench):
    (at,) = bench.tell(message("one"))
    begun, two, _ = bench.tell(
        forked(at),
        message("two", message_id="m2"),
        message("three", message_id="m3"),
        subject=THERE,
    )
    conversations = bench.conversations()
    assert texts(await conversations.up_to(THERE, EventId(two))) == ["one", "two"]
    assert texts(await conversations.up_to(THERE, EventId(begun))) == ["one"]


async def test_forks_of_forks_share_all_that_came_before(bench):
    (at,) = bench.tell(message("one"))
    _, two, _ = bench.tell(
        forked(at),
        message("two", message_id="m2"),
        message("not shared", message_id="m3"),
        subject=THERE,
    )
    bench.tell(forked(two, parent=THERE), message("four", message_id="m4"), subject=FURTHER)
    state = await bench.conversations().newest(FURTHER)
    assert texts(state) == ["one", "two", "four"]
    assert home(FURTHER, state.fork) == CONVERSATION


async def test_a_fork_of_what_is_not_there_says_so_until_it_is(bench):
    bench.tell(forked("e9"), subject=THERE)
    conversations = bench.conversations()
    with pytest.raises(HistoryMissing, match="portal/general at event e9"):
        await conversations.newest(THERE)
    with pytest.raises(Rejected):
        await conversations.up_to(THERE, EventId("e1"))
    bench.log.events += story(*[message()] * 8, message("here", message_id="m9"))
    assert texts(await conversations.newest(THERE))[-1] == "here"


async def test_a_circle_of_forks_is_no_endless_history(bench):
    bench.tell(forked("e2", parent=FURTHER), subject=THERE)
    bench.tell(forked("e1", parent=THERE), subject=FURTHER)
    with pytest.raises(HistoryMissing):
        await bench.conversations().newest(THERE)
    assert DEEPEST >= 10


async def test_what_a_fork_shares_may_have_come_into_this_log_later(bench):
    """An import of the fork first; sequences say nothing then."""
    bench.tell(forked("e4"), message("two", message_id="m2"), subject=THERE)
    (_, at) = bench.tell(message("zero", message_id="m0"), message("one"))
    assert at == "e4"
    state = await bench.conversations().newest(THERE)
    assert texts(state) == ["zero", "one", "two"]
    assert state.seq == 2
    assert all(entry.seq <= 2 for entry in state.entries)


async def test_a_long_fork_starts_from_a_snapshot(bench):
    ids = bench.tell(*[message(str(n), message_id=f"m{n}") for n in range(SNAPSHOT_EVERY)])
    bench.tell(forked(ids[-1]), message("last", message_id="own"), subject=THERE)
    cold = await bench.conversations().newest(THERE)
    assert len(bench.snapshots.saved) == 1
    bench.log.events = [it for it in bench.log.events if it.subject == str(THERE)]
    reads = {it.seq: it for it in bench.log.events}
    bench.log.events = [reads.get(n, _nothing(n)) for n in range(1, max(reads) + 1)]
    assert await bench.conversations().newest(THERE) == cold


def _nothing(seq) -> Recorded:
    return record(seq, "evt.acme._._._.config._", b"")


async def test_what_a_checkpoint_stands_for_can_be_read_in_a_fork(bench):
    ids = bench.tell(message("one"), message("two", message_id="m2"))
    (_, at) = bench.tell(checkpoint(ids[0]), message("three", message_id="m3"))
    bench.tell(forked(at), checkpoint(ids[1], after=ids[0]), subject=THERE)
    found = await reading_back.chapters(bench.log, THERE)
    assert {n: [it.text for it in chapter.entries] for n, chapter in found.items()} == {
        1: ["one"],
        2: ["two"],
    }


async def test_a_model_is_shown_the_same_bytes_in_the_fork(bench):
    shared = (message("one"), turn_started(), reply("two"), turn_completed("e1"))
    ids = bench.tell(*shared)
    bench.tell(forked(ids[-1]), message("three", message_id="m2"), subject=THERE)
    before = await history(await bench.conversations().newest(CONVERSATION), FakeBodies())
    there = await history(await bench.conversations().newest(THERE), FakeBodies())
    assert there[: len(before)] == before
    assert there[-1].content == "[Ana] three"


# -- any story --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.floats(0, 1), keep=st.sampled_from((3, 200, EVERYTHING)))
async def test_a_fork_of_any_story_is_its_prefix_and_its_own_events(seed, cut, keep):
    told = [it for it in Story(seed).tell(600) if isinstance(it.event, ChannelEvent)]
    subject = max({it.subject for it in told}, key=lambda it: sum(x.subject == it for x in told))
    mine = [it for it in told if it.subject == subject]
    if isinstance(mine[0].event, ConversationForked):
        return
    at = mine[int(cut * (len(mine) - 1))]
    parent = Subject(*_parts(subject))
    fork = parent._replace(adapter=FORK, conversation="of a story")
    log = FakeLog()
    log.events = [record(seq, it.subject, it.body) for seq, it in enumerate(mine, start=1)]
    own = story(
        *[message()] * len(mine),
        forked(at.envelope.id, parent=parent),
        message("said", message_id="own"),
        turn_started("own"),
        reply("told", turn="own"),
        subject=fork,
    )[len(mine) :]
    log.events += own
    place = next(n for n, it in enumerate(mine) if it.envelope.id == at.envelope.id)
    prefix = log.events[: place + 1]
    expected = reduce(partial(evolve, keep=keep), [*prefix, *own], Conversation())
    found = await Conversations(log, FakeSnapshots(), keep=keep).newest(fork)
    assert found == expected
    assert [it async for it in lineage.told(log, fork)] == [*prefix, *own]
    assert found.turn is not None
    assert found.turn.turn_id == "own"
    assert found.runs == ()


def _parts(subject):
    from schemas.subjects import parse  # noqa: PLC0415 - for this helper alone

    return parse(subject)


# -- who the agent is -------------------------------------------------------------------------


async def test_another_model_and_prompt_hold_in_a_fork_alone():
    agent = Agent("acme", "atlas", "Atlas", "Be kind.", "a/one")
    bodies = FakeBodies()
    assert await as_there(agent, None, bodies) == agent
    plain = Fork(adapter="portal", conversation="general")
    assert await as_there(agent, plain, bodies) == agent
    long = await bodies.put(b"Be brief.")
    other = Fork(adapter="portal", conversation="general", model="a/two", prompt=long)
    there = await as_there(agent, other, bodies)
    assert (there.name, there.instructions, there.model) == ("Atlas", "Be brief.", "a/two")


SHARED = {
    *("entries", "unhandled", "group", "private", "shared", "speaker", "seen", "present"),
    *("checkpoints", "cuts", "forgotten", "fork"),
}
LEFT = {
    *("turn", "runs", "retriggers", "failed", "taken", "unsaved", "aside", "compaction"),
    *("compaction_failures", "compaction_failed_at", "turn_seq", "job"),
}


def test_of_everything_that_a_fold_knows_it_is_settled_whether_forks_share_it():
    assert {*Conversation.__struct_fields__} == SHARED | LEFT | {"seq", "at"}
    told = (message(), turn_started(), branch(), turn_failed("e1"), message(message_id="m2"))
    state = fold(*told, turn_started("t2"), compaction("e1"), persistence(), forked("e8"))
    fresh = Conversation()
    assert {name for name in LEFT if getattr(state, name) != getattr(fresh, name)} == set()
