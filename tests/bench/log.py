"""What the log itself takes: appending, compare-and-append, reading, following."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from time import perf_counter

from schemas.channel import ReplySent
from schemas.envelope import Envelope
from schemas.subjects import Subject, matching
from services.runtime.clock import SystemClock
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.event_log import EVERYTHING, Append
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.writer import Writer
from tests.bench import stand
from tests.bench.figures import Figure, percentile

APPENDS = 2_000
AT_ONCE = 64
BATCHES = 100
BATCH = 100
TEXT = "the release day is Thursday, and the notes are in the workspace; what is missing? " * 5


async def run() -> list[Figure]:
    """Measure one client on one server that syncs every write; the bare loop is fsync alone."""
    async with AsyncExitStack() as stack:
        data_dir = stack.enter_context(stand.directory())
        fsync = await asyncio.to_thread(_fsyncs, data_dir)
        server = EmbeddedNats(data_dir / "nats")
        server.directory.mkdir()
        stack.push_async_callback(server.stop)
        await server.start()
        connection = await Connection.open(server.url, name="bench")
        stack.push_async_callback(connection.close)
        event_log = JetStreamLog(connection)
        await event_log.create()
        writer = Writer(event_log, SystemClock(), "bench")
        one = await _one_by_one(writer)
        compared = await _compared(writer)
        together = await _together(writer)
        batched = await _batched(writer)
        read = await _rate(lambda: _read(event_log))
        one_subject = await _rate(lambda: _read(event_log, _subject("batch")))
        followed = await _rate(lambda: _follow(event_log))
    return [
        Figure(
            name="append, p50", value=percentile(one, 50), unit="ms", bare=percentile(fsync, 50)
        ),
        Figure(
            name="append, p99", value=percentile(one, 99), unit="ms", bare=percentile(fsync, 99)
        ),
        Figure(name="compare-and-append, p50", value=percentile(compared, 50), unit="ms"),
        Figure(name="compare-and-append, p99", value=percentile(compared, 99), unit="ms"),
        Figure(name=f"append, {AT_ONCE} at once", value=together, unit="events/s"),
        Figure(name=f"atomic batches of {BATCH}", value=batched, unit="events/s"),
        Figure(name="read everything", value=read, unit="events/s"),
        Figure(name="read one subject", value=one_subject, unit="events/s"),
        Figure(name="follow", value=followed, unit="events/s"),
    ]


def _fsyncs(directory: Path) -> list[float]:
    """Return how long the disk takes for as much as an event, in milliseconds."""
    body = os.urandom(len(TEXT))
    with (directory / "probe").open("wb", buffering=0) as file:
        return [_timed_fsync(file.fileno(), body) for _ in range(APPENDS)]


def _timed_fsync(fd: int, body: bytes) -> float:
    started = perf_counter()
    os.write(fd, body)
    os.fsync(fd)
    return (perf_counter() - started) * 1e3


def _subject(name: str) -> str:
    return str(Subject("acme", "atlas", "portal", name))


def _event(writer: Writer) -> Envelope:
    return writer.seal(ReplySent(turn_id=writer.actor, text=TEXT))


async def _one_by_one(writer: Writer) -> list[float]:
    took = []
    for _ in range(APPENDS):
        started = perf_counter()
        await writer.log.append(_subject("one"), _event(writer))
        took.append((perf_counter() - started) * 1e3)
    return took


async def _compared(writer: Writer) -> list[float]:
    took, seq = [], 0
    for _ in range(APPENDS):
        started = perf_counter()
        seq = await writer.log.append_if(_subject("compared"), seq, _event(writer))
        took.append((perf_counter() - started) * 1e3)
    return took


async def _together(writer: Writer) -> float:
    async def line(number: int) -> None:
        for _ in range(APPENDS // AT_ONCE):
            await writer.log.append(_subject(f"line-{number}"), _event(writer))

    started = perf_counter()
    await asyncio.gather(*(line(number) for number in range(AT_ONCE)))
    return APPENDS // AT_ONCE * AT_ONCE / (perf_counter() - started)


async def _batched(writer: Writer) -> float:
    started = perf_counter()
    for _ in range(BATCHES):
        await writer.log.append_batch(
            [Append(_subject("batch"), _event(writer)) for _ in range(BATCH)]
        )
    return BATCHES * BATCH / (perf_counter() - started)


async def _rate(call: Callable[[], Awaitable[int]]) -> float:
    started = perf_counter()
    count = await call()
    return count / (perf_counter() - started)


async def _read(event_log: JetStreamLog, pattern: str = EVERYTHING) -> int:
    return len([recorded.seq async for recorded in event_log.read(pattern)])


async def _follow(event_log: JetStreamLog) -> int:
    end = await event_log.last(EVERYTHING, fresh=True)
    assert end is not None
    count = 0
    async with aclosing(event_log.tail(matching())) as events:
        async for recorded in events:
            count += 1
            if recorded.seq == end.seq:
                break
    return count
