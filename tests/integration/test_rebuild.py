"""A projection is rebuilt beside the live one, and takes its place in one moment."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from psycopg.errors import LockNotAvailable

from projections import conversations, positions, runs
from projections.registry import BY_NAME, PROJECTIONS
from services.projector import rebuild as rebuilding_module
from services.projector.check import OtherVersion, check
from services.projector.rebuild import (
    AlreadyBuilding,
    SourceTooShort,
    UnknownProjection,
    WouldLose,
    aside,
    rebuild,
)
from services.projector.service import Projector
from services.projector.source import ArchiveSource, LogSource
from services.runtime.clock import SystemClock
from services.runtime.database import reading, using
from tests.support.read_models import StoredLog, dump, project
from tests.support.servers import until
from tests.support.stories import Story

pytestmark = pytest.mark.integration


async def position(pool, name):
    async with using(pool) as conn:
        return (await positions.listing(conn))[name]


@asynccontextmanager
async def projecting(log, pool):
    projector = Projector(log, pool)
    task = asyncio.create_task(projector.run())
    try:
        yield projector
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("name", BY_NAME)
async def test_rebuilt_rows_are_the_rows_there_were(pool, name):
    events = Story(21).tell(2_500)
    await project(pool, events)
    before = await dump(pool)
    rebuilt = await rebuild(pool, name, LogSource(StoredLog(events)))
    assert (rebuilt.events, rebuilt.seq, rebuilt.missing) == (2_500, 2_500, 0)
    assert await dump(pool) == before
    assert (await position(pool, name)).seq == 2_500


@given(seed=st.integers(0, 2**32))
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_whatever_the_story_a_rebuild_finds_no_difference(pool, seed):
    events = Story(seed).tell(300)
    async with using(pool) as conn:
        await conn.execute(f"TRUNCATE {', '.join(t for p in PROJECTIONS for t in p.tables)}")
        await conn.execute("UPDATE projection_positions SET seq = 0")
    await project(pool, events[:200])
    await project_rest(pool, events, 200)
    for name in BY_NAME:
        assert (await check(pool, name, LogSource(StoredLog(events)))).different == 0


async def project_rest(pool, events, start):
    async with pool.connection() as conn, conn.transaction():
        for projection in PROJECTIONS:
            await positions.move(conn, {projection.name: start}, len(events))
            await projection.apply(conn, events[start:])


async def test_rebuilds_from_the_archive_when_the_log_is_lost(pool):
    events = Story(22).tell(1_500)
    await project(pool, events)
    before = await dump(pool)
    async with using(pool) as conn:
        await conn.execute("DELETE FROM runs")
    await rebuild(pool, "runs", ArchiveSource(pool))
    assert await dump(pool) == before


async def test_the_new_tables_are_protected_and_indexed_like_the_old_ones(pool):
    async def shape():
        async with using(pool) as conn:
            cursor = await conn.execute(
                "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text, "
                "(SELECT array_agg(polname::text ORDER BY polname) FROM pg_policy "
                " WHERE polrelid = c.oid), "
                "(SELECT array_agg(indexdef ORDER BY indexdef) FROM pg_indexes "
                " WHERE tablename = c.relname AND schemaname = 'public') "
                "FROM pg_class AS c WHERE relname IN ('runs', 'steps') "
                "AND relnamespace = 'public'::regnamespace ORDER BY 1"
            )
            return await cursor.fetchall()

    before = await shape()
    await rebuild(pool, "runs", LogSource(StoredLog(Story(23).tell(100))))
    assert await shape() == before
    async with using(pool) as conn:
        cursor = await conn.execute("SELECT FROM pg_namespace WHERE nspname LIKE 'rebuild%'")
        assert await cursor.fetchall() == []


async def test_the_live_projector_goes_on_during_a_rebuild(pool):
    events = Story(24).tell(6_000)[:6_000]
    log = StoredLog(events[:3_000])
    async with projecting(log, pool) as projector:

        async def write():
            for start in range(3_000, 6_000, 50):
                await log.add(*events[start : start + 50])
                await asyncio.sleep(0)

        writing = asyncio.create_task(write())
        for name in BY_NAME:
            await rebuild(pool, name, LogSource(log))
        await writing

        async def done():
            return not any((await projector.lag()).values())

        await until(done, timeout_s=30)
    live = await dump(pool)
    async with using(pool) as conn:
        await conn.execute(f"TRUNCATE {', '.join(live)}")
        await conn.execute("UPDATE projection_positions SET seq = 0")
    await project(pool, events)
    assert await dump(pool) == live


async def test_readers_see_whole_tables_at_every_moment(pool):
    events = Story(25).tell(4_000)
    await project(pool, events)
    counts = set()
    done = asyncio.Event()

    async def read():
        while not done.is_set():
            async with reading(pool, "acme") as conn:
                cursor = await conn.execute("SELECT count(*) FROM runs")
                counts.update(await cursor.fetchall())

    watching = asyncio.create_task(read())
    await rebuild(pool, "runs", LogSource(StoredLog(events)))
    done.set()
    await watching
    assert len(counts) == 1


async def test_a_reader_that_does_not_end_delays_the_swap_only(pool):
    events = Story(26).tell(500)
    await project(pool, events)
    async with reading(pool, "acme") as conn:
        await runs.listing(conn, "acme")
        rebuilding = asyncio.create_task(rebuild(pool, "runs", LogSource(StoredLog(events))))

        async def waits():
            async with using(pool) as other:
                cursor = await other.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
                return await cursor.fetchone()

        await until(waits)
        async with reading(pool, "acme") as another:
            assert await conversations.listing(another, "acme")
        assert not rebuilding.done()
    assert (await rebuilding).seq == len(events)


async def test_a_swap_that_waits_too_long_lets_readers_pass_and_tries_again(pool, monkeypatch):
    monkeypatch.setattr(rebuilding_module, "SWAP_LOCK", "20ms")
    events = Story(34).tell(100)
    await project(pool, events)
    clock = Waiting()
    async with reading(pool, "acme") as conn:
        await runs.listing(conn, "acme")
        rebuilding = asyncio.create_task(
            rebuild(pool, "runs", LogSource(StoredLog(events)), clock=clock)
        )
        await clock.waits(2)
        async with reading(pool, "acme") as another:
            assert await runs.listing(another, "acme")
    assert (await rebuilding).seq == len(events)


async def test_a_swap_takes_in_what_came_since_the_build_even_at_the_second_try(pool, monkeypatch):
    monkeypatch.setattr(rebuilding_module, "SWAP_LOCK", "20ms")
    events = Story(35).tell(80)
    await project(pool, events)
    before = await dump(pool)
    async with aside(pool, "runs", LogSource(StoredLog(events))) as builder:
        await builder.advance(50)
        async with reading(pool, "acme") as conn:
            await runs.listing(conn, "acme")
            with pytest.raises(LockNotAvailable):
                await builder.swap()
        assert builder.seq == 50
        await builder.swap()
    assert await dump(pool) == before
    assert (await position(pool, "runs")).seq == len(events)


class Waiting(SystemClock):
    """A clock that tells how often someone waited."""

    def __init__(self) -> None:
        self.times = 0

    async def sleep(self, seconds):
        self.times += 1
        await asyncio.sleep(0)

    async def waits(self, times):
        async def done():
            return self.times >= times

        await until(done)


async def test_an_unfinished_rebuild_leaves_the_live_rows_alone_and_the_next_starts_over(pool):
    events = Story(27).tell(900)
    await project(pool, events)
    before = await dump(pool)
    async with aside(pool, "runs", LogSource(StoredLog(events))) as builder:
        await builder.advance(500)
        await builder.conn.close()  # as the death of its process would
    async with using(pool) as conn:
        cursor = await conn.execute("SELECT count(*) FROM rebuild_runs.runs")
        assert await cursor.fetchone() != (0,)
    assert await dump(pool) == before
    await rebuild(pool, "runs", LogSource(StoredLog(events)))
    assert await dump(pool) == before


async def test_one_build_of_a_projection_at_a_time(pool):
    source = LogSource(StoredLog(Story(28).tell(10)))
    async with aside(pool, "runs", source):
        with pytest.raises(AlreadyBuilding):
            await rebuild(pool, "runs", source)
        await rebuild(pool, "agents", source)


async def test_a_name_that_is_not_there_is_answered_with_those_that_are(pool):
    with pytest.raises(UnknownProjection, match="conversations"):
        await rebuild(pool, "rnus", LogSource(StoredLog()))


async def test_an_archive_is_not_replaced_by_a_log_that_lacks_some_of_it(pool):
    events = Story(29).tell(100)
    await project(pool, events)
    damaged = LogSource(StoredLog([*events[:50], *events[55:]]))
    with pytest.raises(WouldLose, match="5 events between 51 and 55"):
        await rebuild(pool, "archive", damaged)
    assert len((await dump(pool))["archive"]) == len(events)
    rebuilt = await rebuild(pool, "archive", damaged, accept_loss=True)
    assert rebuilt.missing == 5
    assert len((await dump(pool))["archive"]) == 95


async def test_a_source_that_ends_before_the_live_rows_does_not_replace_them(pool):
    events = Story(30).tell(100)
    await project(pool, events)
    before = await dump(pool)
    with pytest.raises(SourceTooShort):
        await rebuild(pool, "runs", LogSource(StoredLog(events[:90])))
    assert await dump(pool) == before


async def test_a_rebuild_forgets_the_problems_of_the_old_rows(pool):
    events = Story(31).tell(50)
    await project(pool, events)
    async with using(pool) as conn:
        await positions.note(conn, positions.Problem("runs", 7, "poison", "then"))
    await rebuild(pool, "runs", LogSource(StoredLog(events)))
    async with using(pool) as conn:
        assert await positions.problems(conn) == []


async def test_a_check_names_what_differs(pool):
    events = Story(32).tell(800)
    await project(pool, events)
    async with using(pool) as conn:
        await conn.execute(
            "UPDATE conversations SET sent = sent + 1 WHERE tenant = 'acme' AND adapter = 'portal'"
        )
        await conn.execute("DELETE FROM messages WHERE seq = (SELECT min(seq) FROM messages)")
        changed = await (await conn.execute("SELECT count(*) FROM conversations")).fetchone()
    found = await check(pool, "conversations", LogSource(StoredLog(events)))
    in_conversations = [each for each in found.examples if each.table == "conversations"]
    assert changed is not None
    assert found.different == 2 * len(in_conversations) + 1
    for each in in_conversations:
        assert each.live is not None
        assert each.rebuilt is not None
        assert set(each.live) == {"sent"}
        assert each.live["sent"] == each.rebuilt["sent"] + 1
        assert each.key["tenant"] == "acme"
    (missing,) = [each for each in found.examples if each.table == "messages"]
    assert missing.live is None
    assert missing.rebuilt is not None


async def test_a_check_is_exact_while_the_log_grows(pool):
    events = Story(33).tell(4_000)
    log = StoredLog(events[:2_000])
    async with projecting(log, pool):

        async def write():
            for start in range(2_000, 4_000, 20):
                await log.add(*events[start : start + 20])
                await asyncio.sleep(0.001)

        writing = asyncio.create_task(write())
        for name in BY_NAME:
            checked = await check(pool, name, LogSource(log))
            assert (checked.name, checked.different, checked.examples) == (name, 0, [])
        await writing


async def test_rows_of_another_version_cannot_be_checked(pool):
    async with using(pool) as conn:
        await conn.execute("UPDATE projection_positions SET version = 0")
    with pytest.raises(OtherVersion):
        await check(pool, "runs", LogSource(StoredLog()))
