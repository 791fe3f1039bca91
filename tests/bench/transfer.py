"""Export a log into a file, and import the file into an installation that has nothing of it."""

import asyncio
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from time import perf_counter

import structlog

from projections.registry import MIGRATIONS
from services.projector.exporting import export
from services.projector.importing import BATCH, import_file
from services.projector.transfer import lines, parse_line
from services.runtime.database import connect, migrate
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.embedded.postgres import EmbeddedPostgres
from services.runtime.event_log import EVERYTHING, Append
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.connection import Connection, check
from services.runtime.jetstream.log import JetStreamLog, _batch
from services.runtime.jetstream.wire import encode
from services.runtime.recording import record
from tests.bench import stand
from tests.bench.figures import Figure
from tests.support.fake_log import FakeBodies
from tests.support.read_models import StoredLog
from tests.support.stories import Story

EVENTS = 100_000


async def run() -> list[Figure]:
    """Measure import, then export of what was imported; at the default durability."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    async with AsyncExitStack() as stack:
        data_dir = stack.enter_context(stand.directory())
        first, second = data_dir / "first.zst", data_dir / "second.zst"
        written = await _file(first)
        bare = await _bare(stack, data_dir, first)
        log, bodies, pool = await _installation(stack, data_dir)
        began = perf_counter()
        imported = await import_file(log, bodies, pool, first)
        taken_in = perf_counter() - began
        assert imported.appended == written
        began = perf_counter()
        manifest = await export(log, bodies, EVERYTHING, second)
        taken_out = perf_counter() - began
        assert manifest.events == written
    return [
        Figure(
            name="import", value=written / taken_in, unit="events/s", at_least=20_000.0, bare=bare
        ),
        Figure(name="export", value=written / taken_out, unit="events/s", at_least=20_000.0),
    ]


async def _file(path: Path) -> int:
    """Write a story whose events can all be read and are all different."""
    story, seen, events = Story(seed=7), set(), []
    while len(events) < EVENTS:
        told = len(story.stored)
        story.go_on()
        for subject, body in story.stored[told:]:
            recorded = record(len(events) + 1, subject, body)
            if recorded.problem is None and recorded.envelope.id not in seen:
                seen.add(recorded.envelope.id)
                events.append(recorded)
    return (await export(StoredLog(events), FakeBodies(), EVERYTHING, path)).events


async def _bare(stack, data_dir, path) -> float:
    """Return how many events a second the server takes when all is encoded beforehand."""
    server = EmbeddedNats(data_dir / "bare")
    server.directory.mkdir()
    stack.push_async_callback(server.stop)
    await server.start()
    connection = await Connection.open(server.url, name="bench")
    stack.push_async_callback(connection.close)
    await JetStreamLog(connection).create()
    answers = asyncio.Queue()
    inbox = connection.inbox(answers.put_nowait)
    rest = islice(lines(path), 1, None)
    appends = (Append(line.subject, line.event) for line in map(parse_line, rest))
    batches = [
        b"".join(map(encode, _batch(batch, inbox)))
        for batch in iter(lambda: list(islice(appends, BATCH)), [])
    ]
    began = perf_counter()
    for batch in batches:
        await connection.client._send_command(batch)
        await connection.client._flush_pending()
        while not (answer := await answers.get()).data:
            pass
        check("bare", answer)
    return EVENTS / (perf_counter() - began)


async def _installation(stack, data_dir):
    servers = EmbeddedNats(data_dir / "nats"), EmbeddedPostgres(data_dir / "postgres")
    for server in servers:
        server.directory.mkdir()
        stack.push_async_callback(server.stop)
        await server.start()
    connection = await Connection.open(servers[0].url, name="bench")
    stack.push_async_callback(connection.close)
    log, bodies = JetStreamLog(connection), JetStreamBodies(connection)
    await log.create()
    await bodies.create()
    pool = await connect(servers[1].url)
    stack.push_async_callback(pool.close)
    await migrate(pool, MIGRATIONS)
    return log, bodies, pool
