"""Projectors that are killed in the middle of their work leave rows that are exact."""

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from projections import positions
from projections.registry import BY_NAME
from services.projector.check import check
from services.projector.rebuild import rebuild
from services.projector.service import Projector
from services.projector.source import LogSource
from services.projector.verify import verify
from services.runtime.cancelling import end
from services.runtime.database import using
from services.runtime.event_log import EVERYTHING
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from tests.support.read_models import dump, project
from tests.support.servers import kill, until
from tests.support.stories import Story

pytestmark = pytest.mark.integration

EVENTS = 12_000
KILLS = 5


@pytest.fixture
async def told(own_nats):
    """The URL of a server, and a log on it that tells a story, damage included."""
    connection = await Connection.open(own_nats.url)
    log = JetStreamLog(connection)
    await log.create()
    events = Story(71).tell(EVENTS)
    for number, recorded in enumerate(events):
        await connection.client.publish(recorded.subject, recorded.body)
        if number % 500 == 499:
            await connection.client.flush()

    async def stored():
        last = await log.last(EVERYTHING)
        return last is not None and last.seq == len(events)

    await until(stored, timeout_s=30)
    yield own_nats.url, log, events
    await connection.close()


@asynccontextmanager
async def process(*urls):
    """A projector that runs on its own; it is killed, never asked to stop."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.projector_process", *urls),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def progress(pool):
    async with using(pool) as conn:
        return min(position.seq for position in (await positions.listing(conn)).values())


async def reach(pool, seq):
    async def there():
        return await progress(pool) >= seq

    await until(there, timeout_s=60)


async def test_rows_are_exact_after_kills_in_the_middle_of_batches(told, pool, database_url):
    nats_url, log, events = told
    for _ in range(KILLS):
        start = await progress(pool)
        async with process(nats_url, database_url):
            await reach(pool, start + 1)
    assert await progress(pool) < len(events)
    async with process(nats_url, database_url):
        await reach(pool, len(events))
    for name in BY_NAME:
        assert (await check(pool, name, LogSource(log))).different == 0
    assert (await verify(log, pool)).gaps == []
    live = await dump(pool)
    async with using(pool) as conn:
        await conn.execute(f"TRUNCATE {', '.join(live)}")
        await conn.execute("UPDATE projection_positions SET seq = 0")
    await project(pool, events)
    assert await dump(pool) == live


async def test_a_second_replica_takes_over_when_the_first_is_killed(told, pool, database_url):
    nats_url, log, events = told
    async with process(nats_url, database_url) as first:
        await reach(pool, 1)
        async with process(nats_url, database_url):
            first.kill()
            await first.wait()
            await reach(pool, len(events))
    for name in BY_NAME:
        assert (await check(pool, name, LogSource(log))).different == 0


async def test_goes_on_when_the_log_was_killed_and_is_back(told, own_nats, pool):
    _, log, events = told
    projecting = asyncio.create_task(Projector(log, pool).run())
    await reach(pool, 1)
    await kill(own_nats)
    await own_nats.start()
    await reach(pool, len(events))
    await end(projecting)
    for name in BY_NAME:
        assert (await check(pool, name, LogSource(log))).different == 0


async def test_a_rebuild_goes_on_beside_a_projector_that_is_killed(told, pool, database_url):
    nats_url, log, events = told
    async with process(nats_url, database_url):
        await reach(pool, 1)
        rebuilding = asyncio.create_task(rebuild(pool, "conversations", LogSource(log)))
        await reach(pool, 3_000)
    await rebuilding
    async with process(nats_url, database_url):
        await reach(pool, len(events))
    for name in BY_NAME:
        assert (await check(pool, name, LogSource(log))).different == 0
