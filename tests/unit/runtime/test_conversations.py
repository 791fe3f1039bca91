"""Folds of conversations are cached and brought up to date; the log stays the truth."""

import asyncio
from functools import reduce

import msgspec
import pytest

from schemas.base import EventId
from services.runtime import conversations as module
from services.runtime.bodies import reference
from services.runtime.conversation import EVERYTHING, Conversation, Entry, evolve
from services.runtime.conversations import (
    LONGEST,
    SNAPSHOT_EVERY,
    Conversations,
    history,
    shown,
)
from services.runtime.event_log import Recorded
from services.runtime.writer import Writer
from tests.support.builders import (
    CONVERSATION,
    message,
    reply,
    story,
    turn_completed,
    turn_started,
)
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.replicas import FakeSnapshots

SUBJECT = str(CONVERSATION)


class CountedLog(FakeLog):
    """A log that counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_events = 0

    async def read(self, pattern, **limits):
        async for recorded in super().read(pattern, **limits):
            self.read_events += 1
            yield recorded


class Bench:
    """A log that tells a story, and places for snapshots."""

    def __init__(self) -> None:
        self.log = CountedLog()
        self.snapshots = FakeSnapshots()
        self.writer = Writer(self.log, FakeClock(), "test")

    def conversations(self, *, keep=200, beside=None) -> Conversations:
        return Conversations(self.log, self.snapshots, keep=keep, beside=beside)

    async def tell(self, *events) -> int:
        """Append events; return the last one's sequence."""
        for event in events:
            seq = await self.log.append(SUBJECT, self.writer.seal(event))
        return seq

    def told(self, count) -> None:
        """Have so many events in the log at once."""
        events = [
            message(f"message {number}", message_id=f"m{number}")
            if number % 100 == 1
            else turn_started()
            if number % 100 == 2
            else turn_completed(f"e{number - 2}")
            if number % 100 == 4
            else reply(f"reply {number}")
            for number in range(count)
        ]
        self.log.events = story(*events)

    def folded(self, *, keep=200) -> Conversation:
        """Return what the log says."""
        fold = lambda state, recorded: evolve(state, recorded, keep=keep)  # noqa: E731
        mine = [recorded for recorded in self.log.events if recorded.subject == SUBJECT]
        return reduce(fold, mine, Conversation())


@pytest.fixture
def bench():
    return Bench()


# -- the cache --------------------------------------------------------------------------------


async def test_an_unknown_conversation_is_empty(bench):
    assert await bench.conversations().newest(CONVERSATION) == Conversation()


async def test_a_fold_covers_at_least_the_sequence_that_is_asked_for(bench):
    conversations = bench.conversations()
    first = await bench.tell(message())
    await bench.tell(turn_started())
    assert (await conversations.at_least(CONVERSATION, first)).seq >= first
    assert await conversations.newest(CONVERSATION) == bench.folded()


async def test_what_is_known_is_not_read_again(bench):
    conversations = bench.conversations()
    seq = await bench.tell(message(), turn_started(), turn_completed())
    await conversations.at_least(CONVERSATION, seq)
    bench.log.read_events = 0
    await conversations.at_least(CONVERSATION, seq - 1)
    assert bench.log.read_events == 0
    await conversations.newest(CONVERSATION)
    assert bench.log.read_events == 1  # its last event, to see that it is there still
    await bench.tell(reply())
    await conversations.newest(CONVERSATION)
    assert bench.log.read_events == 3


async def test_the_streams_of_runs_are_no_part_of_the_conversation(bench):
    conversations = bench.conversations()
    await bench.tell(message())
    await bench.log.append(str(CONVERSATION.of("turn")), bench.writer.seal(reply("elsewhere")))
    assert (await conversations.newest(CONVERSATION.of("worker", "w1"))).seq == 1


async def test_an_event_of_our_own_is_folded_without_reading_it(bench):
    conversations = bench.conversations()
    seq = await bench.tell(message())
    await conversations.newest(CONVERSATION)
    await bench.tell(turn_started())
    bench.log.read_events = 0
    state = conversations.appended(CONVERSATION, seq, bench.log.events[-1])
    assert state == bench.folded()
    assert await conversations.at_least(CONVERSATION, seq + 1) == state
    assert bench.log.read_events == 0


async def test_an_event_of_our_own_behind_unknown_ones_is_not_folded(bench):
    conversations = bench.conversations()
    await bench.tell(message())
    await conversations.newest(CONVERSATION)
    await bench.tell(turn_started(), reply())
    assert conversations.appended(CONVERSATION, 2, bench.log.events[-1]) is None
    unknown = Recorded(1, "s", bench.log.events[0].envelope, message(), b"")
    assert conversations.appended(CONVERSATION._replace(agent="else"), 0, unknown) is None
    assert await conversations.newest(CONVERSATION) == bench.folded()


async def test_many_may_ask_at_once(bench):
    conversations = bench.conversations()
    await bench.tell(*[message(message_id=f"m{number}") for number in range(50)])
    states = await asyncio.gather(*(conversations.newest(CONVERSATION) for _ in range(20)))
    assert states == [bench.folded()] * 20
    assert bench.log.read_events == 50 + 19  # of the others, each looks at the last one
    assert conversations._locks == {}


async def test_what_folds_beside_it_know_whole_is_not_folded_again(bench):
    near = bench.conversations(keep=5)
    far = bench.conversations(keep=EVERYTHING, beside=near)
    seq = await bench.tell(*(message(f"{n}", message_id=f"m{n}") for n in range(4)))
    assert await far.at_least(CONVERSATION, seq) == await near.at_least(CONVERSATION, seq)
    assert await far.newest(CONVERSATION) == bench.folded()
    assert bench.log.read_events == 4 + 1


async def test_what_folds_beside_it_have_forgotten_is_there_all_the_same(bench):
    near = bench.conversations(keep=5)
    far = bench.conversations(keep=EVERYTHING, beside=near)
    bench.told(100)
    assert len((await near.newest(CONVERSATION)).entries) < 20
    assert await far.newest(CONVERSATION) == bench.folded(keep=EVERYTHING)
    assert await far.at_least(CONVERSATION, 100) == bench.folded(keep=EVERYTHING)


async def test_only_so_many_conversations_are_kept(bench, monkeypatch):
    monkeypatch.setattr(module, "CACHED", 3)
    conversations = bench.conversations()
    for number in range(5):
        subject = CONVERSATION._replace(conversation=f"c{number}")
        await bench.log.append(str(subject), bench.writer.seal(message()))
        await conversations.newest(subject)
    assert len(conversations._folds) == 3
    bench.log.read_events = 0
    assert (await conversations.newest(CONVERSATION._replace(conversation="c0"))).seq == 1
    assert bench.log.read_events == 1


# -- the past ---------------------------------------------------------------------------------


async def test_a_fork_is_the_conversation_as_it_was(bench):
    conversations = bench.conversations()
    await bench.tell(message("one"), message("two", message_id="m2"))
    fork = bench.log.events[0].envelope.id
    await conversations.newest(CONVERSATION)
    state = await conversations.up_to(CONVERSATION, fork)
    assert [entry.text for entry in state.entries] == ["one"]
    assert (await conversations.newest(CONVERSATION)).seq == 2


async def test_a_fork_of_now_is_what_is_known(bench):
    conversations = bench.conversations()
    await bench.tell(message())
    state = await conversations.newest(CONVERSATION)
    bench.log.read_events = 0
    assert await conversations.up_to(CONVERSATION, state.at) == state
    assert bench.log.read_events == 0


async def test_a_fork_at_nothing_sees_nothing(bench):
    await bench.tell(message())
    assert await bench.conversations().up_to(CONVERSATION, None) == Conversation()


# -- snapshots --------------------------------------------------------------------------------


async def test_a_long_conversation_starts_from_a_snapshot(bench):
    bench.told(10_000)
    cold = await bench.conversations().newest(CONVERSATION)
    assert cold == bench.folded()
    assert bench.log.read_events == 10_000
    await bench.tell(message("the newest", message_id="new"))
    bench.log.read_events = 0
    warm = await bench.conversations().newest(CONVERSATION)
    assert warm == bench.folded()
    assert bench.log.read_events == 2  # its last event, to know it by, and the new one


async def test_a_short_conversation_needs_no_snapshot(bench):
    bench.told(SNAPSHOT_EVERY - 1)
    await bench.conversations().newest(CONVERSATION)
    assert bench.snapshots.saved == {}


async def test_snapshots_are_made_now_and_then_whoever_appends(bench):
    conversations = bench.conversations()
    bench.told(SNAPSHOT_EVERY - 3)
    await conversations.newest(CONVERSATION)
    for number in range(3):
        seq = await bench.tell(message(message_id=f"own {number}"))
        conversations.appended(CONVERSATION, seq - 1, bench.log.events[-1])
    assert bench.snapshots.saved == {}
    await bench.tell(message(message_id="another"))
    await conversations.newest(CONVERSATION)
    assert len(bench.snapshots.saved) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda saved: {}, id="is missing"),
        pytest.param(lambda saved: dict.fromkeys(saved, b"{"), id="is damaged"),
        pytest.param(lambda saved: dict.fromkeys(saved, b'{"seq": "x"}'), id="is no fold"),
    ],
)
async def test_a_snapshot_is_done_without_when_it(bench, change):
    bench.told(SNAPSHOT_EVERY)
    await bench.conversations().newest(CONVERSATION)
    bench.snapshots.saved = change(bench.snapshots.saved)
    assert await bench.conversations().newest(CONVERSATION) == bench.folded()


async def test_a_snapshot_of_another_shape_is_not_read(bench, monkeypatch):
    bench.told(SNAPSHOT_EVERY)
    await bench.conversations().newest(CONVERSATION)
    (key,) = bench.snapshots.saved
    newest = bench.log.events[-1].envelope.id
    would_be_read = {"seq": SNAPSHOT_EVERY, "at": newest}
    bench.snapshots.saved[key] = msgspec.json.encode(would_be_read)
    assert (await bench.conversations().at_least(CONVERSATION, SNAPSHOT_EVERY)).entries == ()
    monkeypatch.setattr(module, "SHAPE", "another")
    assert await bench.conversations().newest(CONVERSATION) == bench.folded()
    assert len(bench.snapshots.saved) == 2


async def test_a_snapshot_with_another_history_is_not_read(bench):
    bench.told(SNAPSHOT_EVERY)
    await bench.conversations().newest(CONVERSATION)
    short = await bench.conversations(keep=10).newest(CONVERSATION)
    assert short == bench.folded(keep=10)
    assert len(short.entries) <= 20


@pytest.mark.parametrize("length", [1, SNAPSHOT_EVERY, SNAPSHOT_EVERY + 1])
async def test_a_snapshot_of_another_log_is_not_believed(bench, length):
    """The log was lost and begun anew, perhaps from an export; the snapshots are still there."""
    bench.told(SNAPSHOT_EVERY)
    await bench.conversations().newest(CONVERSATION)
    bench.log = CountedLog()
    bench.writer = Writer(bench.log, FakeClock(), "test")
    seq = await bench.tell(*(message(message_id=f"anew {n}") for n in range(length)))
    assert await bench.conversations().at_least(CONVERSATION, seq) == bench.folded()
    assert await bench.conversations().newest(CONVERSATION) == bench.folded()


async def test_conversations_do_not_share_snapshots(bench):
    bench.told(SNAPSHOT_EVERY)
    await bench.conversations().newest(CONVERSATION)
    other = CONVERSATION._replace(tenant="globex")
    assert await bench.conversations().newest(other) == Conversation()


# -- what a model is shown --------------------------------------------------------------------


async def test_history_is_label_and_text(bench):
    await bench.tell(message("hello"), reply("hi"))
    told = await history(bench.folded(), FakeBodies())
    assert [(line.role, line.content) for line in told] == [
        ("user", "[Ana] hello"),
        ("assistant", "hi"),
    ]


async def test_a_long_text_is_shown_with_what_is_left_out():
    bodies = FakeBodies()
    long = await bodies.put(b"x" * (LONGEST + 1_234))
    text = await shown(long, bodies)
    assert text == "x" * LONGEST + "\n[… 1,234 more characters are left out here]"
    assert await shown(await bodies.put(b"x" * LONGEST), bodies) == "x" * LONGEST


async def test_a_text_that_is_gone_does_not_hide_the_others():
    entries = tuple(
        Entry(id=EventId("e"), seq=1, role="user", text=text)
        for text in ("one", reference(b"gone"), "two")
    )
    told = await history(Conversation(entries=entries), FakeBodies())
    assert [line.content[:28] for line in told] == ["one", "(this text cannot be read: b", "two"]
