"""Fold a long conversation: from its first event, and from a snapshot."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter

from schemas.base import RunId
from schemas.channel import MessageReceived, Person, ReplySent, TurnCompleted, TurnStarted
from schemas.envelope import Envelope
from schemas.subjects import Subject
from services.runtime.clock import SystemClock
from services.runtime.conversations import Conversations
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.event_log import EVERYTHING, Append
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import STREAM, JetStreamLog
from services.runtime.jetstream.reading import Reader
from services.runtime.jetstream.snapshots import JetStreamSnapshots
from services.runtime.writer import Writer
from tests.bench import stand
from tests.bench.figures import Figure

EVENTS = 10_000
OTHERS = 3  # conversations beside it, whose events lie between its own
SINCE = 40  # events since the snapshot
ROUNDS = 5
HERE = Subject("acme", "atlas", "portal", "long")
TEXT = "the release day is Thursday, and the notes are in the workspace; what is still missing? "


async def run() -> list[Figure]:
    """Measure both, and the bare reading of the same events."""
    async with AsyncExitStack() as stack:
        data_dir = stack.enter_context(stand.directory())
        server = EmbeddedNats(data_dir, sync="1m")
        stack.push_async_callback(server.stop)
        await server.start()
        connection = await Connection.open(server.url, name="bench")
        stack.push_async_callback(connection.close)
        event_log, snapshots = JetStreamLog(connection), JetStreamSnapshots(connection)
        await event_log.create()
        await snapshots.create()
        writer = Writer(event_log, SystemClock(), "bench")
        turns = (EVENTS - SINCE) // 4
        await _talk(writer, 0, turns)

        bare = await _timed(lambda: _read(Reader(connection, STREAM)))
        cold = await _timed(lambda: _fold(event_log, Forgetful()))
        await _fold(event_log, snapshots)  # leaves a snapshot behind
        await _talk(writer, turns, EVENTS // 4)
        warm = await _timed(lambda: _fold(event_log, snapshots))
    return [
        Figure(name="fold 10,000 events", value=cold, unit="ms", at_most=1_000.0, bare=bare),
        Figure(name="fold from a snapshot", value=warm, unit="ms", at_most=50.0, bare=bare),
    ]


class Forgetful:
    """Snapshots that never are."""

    async def load(self, key: str) -> bytes | None:
        """Return None."""

    async def save(self, key: str, value: bytes) -> None:
        """Do nothing."""


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    """Return the median of several calls, in milliseconds."""
    took = []
    for _ in range(ROUNDS):
        started = perf_counter()
        await call()
        took.append((perf_counter() - started) * 1e3)
    return median(took)


async def _fold(event_log: JetStreamLog, snapshots: Forgetful | JetStreamSnapshots) -> None:
    """Fold it as a process that has never seen it, and look that it is whole."""
    state = await Conversations(event_log, snapshots).newest(HERE)
    last = await event_log.last(str(HERE))
    assert last is not None
    assert state.seq == last.seq
    assert len(state.entries) >= 200


async def _read(reader: Reader) -> None:
    messages = reader.messages(str(HERE), after=0, until=None, fresh=True)
    count = len([seq async for seq, _, _ in messages])
    assert count >= EVENTS - SINCE


async def _talk(writer: Writer, first: int, last: int) -> None:
    """Have so many turns in it and beside it, as many atomic batches."""
    names = (HERE, *(HERE._replace(conversation=f"other-{number}") for number in range(OTHERS)))
    for at in range(first, last, 25):
        for subject in names:
            events = [
                Append(str(subject), envelope)
                for number in range(at, min(at + 25, last))
                for envelope in _turn(writer, number)
            ]
            await writer.log.append_batch(events)
    assert await writer.log.last(EVERYTHING) is not None


def _turn(writer: Writer, number: int) -> list[Envelope]:
    turn_id = RunId(f"turn-{number}")
    author = Person(id="portal:ana", name="Ana")
    message = writer.seal(MessageReceived(message_id=f"m-{number}", author=author, text=TEXT * 2))
    return [
        message,
        writer.seal(TurnStarted(turn_id=turn_id, owner="channel-1"), cause=message.id),
        writer.seal(ReplySent(turn_id=turn_id, text=TEXT * 3)),
        writer.seal(TurnCompleted(turn_id=turn_id, handled=(message.id,), outcome="replied")),
    ]
