"""Spans leave the log once each, whoever tells them, whatever is away."""

import asyncio
import zlib
from contextlib import suppress

import msgspec
import pytest
from structlog.testing import capture_logs

from services.projector import tracing
from services.projector.tracing import Tracing
from services.runtime.cancelling import end
from services.runtime.config import TelemetrySettings
from services.runtime.telemetry.context import ROOTS
from services.runtime.telemetry.state import State
from services.runtime.writer import Writer
from tests.support.builders import CONVERSATION, message
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.replicas import FakeSnapshots
from tests.support.servers import until


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    monkeypatch.setattr(ROOTS, "sampler", lambda trace_id: True)
    monkeypatch.setattr(tracing, "EVERY_S", 0.0)
    with capture_logs() as lines:
        yield lines


class Lead:
    """The connection with the lead."""

    async def execute(self, statement):
        assert statement == "SELECT 1"


class FakeRecorder:
    """Remembers spans; refuses so many times."""

    def __init__(self) -> None:
        self.told = []
        self.measured = []
        self.refuse = 0

    def words_of(self, tenant):
        return False

    def measure(self, spans):
        self.measured += spans

    async def export(self, spans):
        await asyncio.sleep(0)
        if self.refuse:
            self.refuse -= 1
            return False
        self.told += [span.attributes["nats.stream.sequence"] for span, _ in spans]
        return True


class FollowedLog(FakeLog):
    """Tells when somebody has begun to follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.followed = asyncio.Event()

    def read(self, pattern, **where):
        self.followed.set()
        return super().read(pattern, **where)


class Bench:
    def __init__(self) -> None:
        self.log, self.snapshots = FollowedLog(), FakeSnapshots()
        self.clock, self.recorder = FakeClock(), FakeRecorder()
        self.writer = Writer(self.log, self.clock, "test")
        self.settings = TelemetrySettings(patience_s=60)

    async def say(self, *texts):
        for text in texts:
            event = message(text, message_id=text)
            await self.log.append(str(CONVERSATION), self.writer.seal(event))

    async def follow(self, wanted):
        """Let a process follow the log until `wanted`, and kill it."""
        process = Tracing(
            self.log,
            self.snapshots,
            FakeBodies(),
            pool=None,
            recorder=self.recorder,
            settings=self.settings,
            clock=self.clock,
        )
        following = asyncio.create_task(process.follow(Lead()))

        async def there():
            if following.done():
                following.result()
            return wanted()

        try:
            await until(there, timeout_s=20)
        finally:
            await end(following)

    def saved(self):
        with suppress(KeyError):
            saved = zlib.decompress(self.snapshots.saved[tracing.KEY])
            return msgspec.msgpack.decode(saved, type=State).seq
        return None

    async def told_from_now_on(self, text, wanted):
        """Let a process follow the log, and say something once it does."""
        self.log.followed.clear()
        following = asyncio.create_task(self.follow(wanted))
        await self.log.followed.wait()
        await self.say(text)
        await following

    async def begin(self):
        """Let a first process say something, so that it is known where the next begins."""
        await self.told_from_now_on("first", lambda: self.saved() == 1)


@pytest.fixture
def bench():
    return Bench()


async def test_what_was_there_before_traces_were_asked_for_is_not_told(bench):
    await bench.say("old")
    await bench.told_from_now_on("new", lambda: bench.recorder.told == [2])


async def test_the_next_process_goes_on_where_the_last_one_stopped(bench):
    await bench.begin()
    await bench.say("while", "nobody", "looks")
    await bench.follow(lambda: bench.saved() == 4)
    assert bench.recorder.told == [1, 2, 3, 4]


async def test_the_position_is_kept_only_after_the_spans_were_taken(bench):
    await bench.begin()
    before = bench.saved()
    bench.recorder.refuse = 3
    await bench.say("second")
    kept = []
    take = bench.recorder.export

    async def export(spans):
        kept.append(bench.saved())
        return await take(spans)

    bench.recorder.export = export
    await bench.follow(lambda: bench.saved() == 2)
    assert kept == [before] * 4
    assert bench.recorder.told == [1, 2]
    assert bench.clock.slept == [0.5, 1.0, 2.0]


async def test_whoever_dies_before_the_position_is_kept_leaves_a_span_told_twice_and_none_lost(
    bench,
):
    await bench.begin()
    await bench.say("second")
    save = bench.snapshots.save

    async def die(key, value):
        raise asyncio.CancelledError

    bench.snapshots.save = die
    with pytest.raises(asyncio.CancelledError):
        await bench.follow(lambda: False)
    bench.snapshots.save = save
    await bench.follow(lambda: bench.saved() == 2)
    assert bench.recorder.told == [1, 2, 2]


async def test_spans_that_nobody_takes_for_too_long_are_given_up_and_that_is_said(bench, traced):
    await bench.begin()
    bench.recorder.refuse = 1_000
    await bench.say("lost")
    await bench.follow(lambda: bench.saved() == 2)
    assert [line["spans"] for line in traced if line["event"] == "tracing.spans_dropped"] == [1]
    bench.recorder.refuse = 0
    await bench.say("third")
    await bench.follow(lambda: bench.saved() == 3)
    assert bench.recorder.told == [1, 3]


async def test_a_snapshot_of_another_log_or_another_version_is_not_gone_by(bench):
    for saved in (zlib.compress(msgspec.msgpack.encode(State(seq=1_000))), b"nonsense"):
        bench.snapshots.saved[tracing.KEY] = saved
        told = len(bench.log.events) + 1
        await bench.told_from_now_on(f"new {told}", lambda it=told: it in bench.recorder.told)


async def test_what_is_told_twice_is_measured_once_for_each_who_reads_it(bench):
    await bench.begin()
    bench.recorder.refuse = 5
    await bench.say("second")
    await bench.follow(lambda: bench.saved() == 2)
    assert len(bench.recorder.measured) == 2


async def test_what_happened_long_ago_and_is_imported_now_is_neither_told_nor_measured(bench):
    await bench.begin()
    await bench.say("long ago")
    bench.clock.advance(3_600)
    await bench.say("now")
    await bench.follow(lambda: bench.saved() == 3)
    assert bench.recorder.told == [1, 3]
    assert len(bench.recorder.measured) == 2


async def test_what_is_said_to_happen_in_a_far_future_keeps_nothing_else_from_being_told(bench):
    """An import may say any time, also one that no span can have."""
    await bench.begin()
    bench.clock.advance(10**12)
    await bench.say("in 30,000 years")
    bench.clock.advance(-(10**12))
    await bench.say("now")
    await bench.follow(lambda: bench.saved() == 3)
    assert bench.recorder.told == [1, 3]
