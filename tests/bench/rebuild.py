"""Rebuild each busy projection from a log of random but valid histories."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

from nats.aio.msg import Msg

from projections.registry import MIGRATIONS
from services.projector.rebuild import BATCH, rebuild
from services.projector.source import LogSource
from services.runtime import ids
from services.runtime.cancelling import end
from services.runtime.database import Pool, connect, migrate, session
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.embedded.postgres import EmbeddedPostgres
from services.runtime.event_log import EVERYTHING
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import STREAM, JetStreamLog
from services.runtime.jetstream.pulling import Puller
from tests.bench import stand
from tests.bench.figures import Figure
from tests.support.stories import Story

EVENTS = 200_000
ROOM = 4_000  # messages that the bare loop has under way
ROUNDS = 3
PROJECTIONS = ("runs", "conversations")  # the busiest: most events change a row of theirs
BARE = "bare"
TABLE = """
DROP TABLE IF EXISTS bare;
CREATE TABLE bare (seq bigint PRIMARY KEY, subject text NOT NULL, body bytea NOT NULL);
"""


async def run() -> list[Figure]:
    """Load a log, then measure the bare loop and each rebuild of it."""
    async with AsyncExitStack() as stack:
        data_dir = stack.enter_context(stand.directory())
        connection, pool = await _servers(stack, data_dir)
        event_log = JetStreamLog(connection)
        await event_log.create()
        await migrate(pool, MIGRATIONS)
        count = await _load(connection, event_log)
        rates: dict[str, list[float]] = {BARE: [], **{name: [] for name in PROJECTIONS}}
        for _ in range(ROUNDS):
            rates[BARE].append(await _read_and_copy(connection, pool, count))
            for name in PROJECTIONS:
                rebuilt = await rebuild(pool, name, LogSource(event_log))
                assert rebuilt.events == count
                rates[name].append(count / rebuilt.seconds)
        bare, *found = (median(values) for values in rates.values())
        return [
            figure
            for name, rate in zip(PROJECTIONS, found, strict=True)
            for figure in _figures(name, rate, bare)
        ]


async def _servers(stack: AsyncExitStack, data_dir: Path) -> tuple[Connection, Pool]:
    """Start servers of our own; nothing here waits for a disk but the database's commits."""
    servers = EmbeddedNats(data_dir / "nats", sync="1m"), EmbeddedPostgres(data_dir / "postgres")
    for server in servers:
        server.directory.mkdir()
        stack.push_async_callback(server.stop)
        await server.start()
    connection = await Connection.open(servers[0].url, name="bench")
    stack.push_async_callback(connection.close)
    pool = await connect(servers[1].url)
    stack.push_async_callback(pool.close)
    return connection, pool


async def _load(connection: Connection, event_log: JetStreamLog) -> int:
    """Put a story on the log, as fast as the server takes it; return how many events it has."""
    story = Story(seed=7)
    while len(story.stored) < EVENTS:
        story.go_on()
    for at, (subject, body) in enumerate(story.stored):
        await connection.client.publish(subject, body)
        if at % 1_000 == 0:
            await connection.client.flush(30)
    await connection.client.flush(30)
    async with asyncio.timeout(60):
        while (  # noqa: ASYNC110 - asked of a server
            last := await event_log.last(EVERYTHING)
        ) is None or last.seq < len(story.stored):
            await asyncio.sleep(0.1)  # the log tells nobody when it has taken everything
    return last.seq


async def _read_and_copy(connection: Connection, pool: Pool, count: int) -> float:
    """Return how many events a second go from the log into a table without being looked at."""
    name = f"bare-{ids.new()}"
    await JetStreamLog(connection)._create_consumer(
        name, {"deliver_policy": "all", "ack_policy": "none", "mem_storage": True}
    )
    puller = Puller(connection, STREAM, name, room=ROOM)
    started = perf_counter()
    pulling = asyncio.create_task(puller.run())
    try:
        async with session(pool) as conn:
            await conn.execute(TABLE)
            done = 0
            while done < count:
                batch = [await _next(puller) for _ in range(min(BATCH, count - done))]
                async with (
                    conn.transaction(),
                    conn.cursor() as cursor,
                    cursor.copy("COPY bare FROM STDIN") as copy,
                ):
                    for message in batch:
                        seq = int(message.reply.rsplit(".", 4)[1])
                        await copy.write_row((seq, message.subject, message.data))
                done += len(batch)
    finally:
        await end(pulling)
    return count / (perf_counter() - started)


async def _next(puller: Puller) -> Msg:
    message = await puller.messages.get()
    assert isinstance(message, Msg)
    puller.done()
    return message


def _figures(name: str, rate: float, bare: float) -> list[Figure]:
    return [
        Figure(name=f"rebuild {name}", value=rate, unit="events/s", at_least=30_000.0, bare=bare),
        Figure(name=f"rebuild {name}, of bare", value=rate / bare, unit="", at_least=0.3),
    ]
