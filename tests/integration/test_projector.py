"""The projector keeps every read model at the end of the log, whatever fails on the way."""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import psycopg
import pytest

from projections import positions
from projections.positions import LOG, Moved
from projections.registry import BY_NAME, MIGRATIONS, PROJECTIONS
from schemas.memory import MemorySaved
from services.projector import service
from services.projector.applying import Member, take_in
from services.projector.service import LEADER_LOCK, Projector
from services.runtime import database
from services.runtime.database import session, using
from tests.support.read_models import StoredLog, dump, project
from tests.support.servers import kill, until
from tests.support.stories import Story

pytestmark = pytest.mark.integration


@asynccontextmanager
async def running(*projectors):
    tasks = [asyncio.create_task(projector.run()) for projector in projectors]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def at_the_end(projector):
    async def done():
        with suppress(database.DatabaseUnavailable):
            return not any((await projector.lag()).values())

    await until(done, timeout_s=30)


async def problems(pool):
    async with using(pool) as conn:
        return [(each.name, each.seq, each.kind) for each in await positions.problems(conn)]


async def expected(pool, events):
    """Return the rows that these events come to, and empty the tables again."""
    await project(pool, events)
    rows = await dump(pool)
    async with using(pool) as conn:
        await conn.execute(f"TRUNCATE {', '.join(rows)}")
        await conn.execute("UPDATE projection_positions SET seq = 0")
    return rows


async def test_writes_what_the_log_has_and_what_comes(pool):
    events = Story(1).tell(3_000)[:3_000]
    rows = await expected(pool, events)
    log = StoredLog(events[:2_000])
    projector = Projector(log, pool)
    async with running(projector):
        await at_the_end(projector)
        await log.add(*events[2_000:])
        assert await projector.lag() == dict.fromkeys(BY_NAME, len(events) - 2_000)
        await at_the_end(projector)
    assert await dump(pool) == rows


async def test_goes_on_where_it_was(pool):
    events = Story(2).tell(2_500)[:2_500]
    rows = await expected(pool, events)
    for end in (1_000, 1_001, 2_500):
        projector = Projector(StoredLog(events[:end]), pool)
        async with running(projector):
            await at_the_end(projector)
    assert await dump(pool) == rows


async def test_an_event_that_was_taken_in_is_never_taken_in_again(pool):
    events = Story(3).tell(100)
    await project(pool, events)
    rows = await dump(pool)
    async with session(pool) as conn:
        for projection in PROJECTIONS:
            for seq in (0, 99, 101):
                with pytest.raises(Moved):
                    await take_in(conn, Member(projection, seq), events)
    assert await dump(pool) == rows


async def test_two_replicas_take_turns_and_never_double(pool):
    events = Story(4).tell(6_000)
    rows = await expected(pool, events)
    log = StoredLog(events[:1_000])
    first, second = Projector(log, pool), Projector(log, pool)
    async with running(first), running(second):
        await at_the_end(first)
        await log.add(*events[1_000:3_000])
        await _end_the_leader(pool)
        await log.add(*events[3_000:])
        await at_the_end(first)
    assert await dump(pool) == rows


async def _end_the_leader(pool):
    """Cut the connection that holds the lead, as the death of its process would."""

    async def cut():
        async with using(pool) as conn:
            cursor = await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE locktype = 'advisory' AND objid = %s AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                (LEADER_LOCK,),
            )
            return await cursor.fetchone()

    await until(cut)


async def test_waits_while_the_database_is_away(own_postgres):
    events = Story(5).tell(2_000)
    pool = await database.connect(own_postgres.url)
    await database.migrate(pool, MIGRATIONS)
    log = StoredLog(events[:1_000])
    projector = Projector(log, pool)
    async with running(projector) as (task,):
        await at_the_end(projector)
        await kill(own_postgres)
        await log.add(*events[1_000:])
        with pytest.raises(database.DatabaseUnavailable):
            await projector.lag()
        await own_postgres.start()
        await at_the_end(projector)
        assert not task.done()
    rows = await dump(pool)
    async with using(pool) as conn:
        await conn.execute(f"TRUNCATE {', '.join(rows)}")
        await conn.execute("UPDATE projection_positions SET seq = 0")
    await project(pool, events)
    assert await dump(pool) == rows
    await pool.close()


async def test_a_poison_event_is_set_aside_and_stops_nobody(pool):
    """One that Python chokes on, and one that PostgreSQL refuses."""
    events = Story(6).tell(1_500)
    whole = BY_NAME["memories"]

    def choking(recorded) -> Iterator:
        if recorded.seq == 700:
            raise KeyError("a bug")
        for statement in whole.project(recorded):
            if recorded.seq == poison:
                statement.row["importance"] = "not a number"
            yield statement

    poison = next(each.seq for each in events[800:] if isinstance(each.event, MemorySaved))
    poisoned = replace(whole, project=choking)
    projections = [poisoned if each is whole else each for each in PROJECTIONS]
    projector = Projector(StoredLog(events), pool, projections=projections)
    async with running(projector):
        await at_the_end(projector)
    assert await problems(pool) == [("memories", 700, "poison"), ("memories", poison, "poison")]
    rows = await dump(pool)
    healthy = [each for each in events if each.seq not in {700, poison}]
    async with using(pool) as conn:
        await conn.execute("TRUNCATE memories")
        await whole.apply(conn, healthy)
    assert (await dump(pool))["memories"] == rows["memories"]
    assert len(rows["archive"]) == 1_500


async def test_a_projection_without_its_table_is_suspended_and_comes_back(pool):
    events = Story(7).tell(2_000)
    rows = await expected(pool, events)
    async with using(pool) as conn:
        await conn.execute("ALTER TABLE agents RENAME TO hidden")
    log = StoredLog(events[:1_500])
    projector = Projector(log, pool)

    async def others_are_there():
        lag = await projector.lag()
        return lag.pop("agents") and not any(lag.values())

    async with running(projector):
        await until(others_are_there)
        assert await problems(pool) == [("agents", 0, "suspended")]
        async with using(pool) as conn:
            await conn.execute("ALTER TABLE hidden RENAME TO agents")
        await log.add(*events[1_500:])
        await at_the_end(projector)
    assert await problems(pool) == []
    assert await dump(pool) == rows


async def test_one_that_is_far_behind_catches_up_beside_the_others(pool):
    events = Story(8).tell(5_000)
    rows = await expected(pool, events)
    others = [each for each in PROJECTIONS if each.name != "runs"]
    log = StoredLog(events[:4_000])
    projector = Projector(log, pool, projections=others)

    async def others_are_there():
        lag = await projector.lag()
        return lag.pop("runs") and not any(lag.values())

    async with running(projector):
        await until(others_are_there)
    projector = Projector(log, pool)
    async with running(projector):
        await log.add(*events[4_000:])
        await at_the_end(projector)
    assert await dump(pool) == rows


async def test_rows_of_another_version_are_rebuilt_at_the_start(pool):
    events = Story(9).tell(1_200)
    rows = await expected(pool, events)
    await project(pool, events[:1_000])
    async with using(pool) as conn:
        await conn.execute("UPDATE projection_positions SET version = 0 WHERE name = 'runs'")
        await conn.execute("DROP TABLE steps")
        await conn.execute("ALTER TABLE runs DROP COLUMN owner")
    projector = Projector(StoredLog(events), pool)
    async with running(projector):
        await at_the_end(projector)
    assert await dump(pool) == rows


async def test_rows_of_a_newer_version_are_left_alone(pool):
    events = Story(14).tell(300)
    await project(pool, events[:200])
    before = (await dump(pool))["runs"]
    async with using(pool) as conn:
        await conn.execute("UPDATE projection_positions SET version = 99 WHERE name = 'runs'")
    projector = Projector(StoredLog(events), pool)

    async def others_are_there():
        lag = await projector.lag()
        return lag.pop("runs") == len(events) - 200 and not any(lag.values())

    async with running(projector):
        await until(others_are_there)
    assert (await dump(pool))["runs"] == before


async def test_a_hole_in_the_log_is_an_alarm(pool):
    events = Story(10).tell(50)
    log = StoredLog([*events[:10], *events[13:40]])
    projector = Projector(log, pool)
    async with running(projector):
        await at_the_end(projector)
        await log.add(*events[45:])
        await at_the_end(projector)
    assert await problems(pool) == [(LOG, 11, "hole"), (LOG, 41, "hole")]
    assert len((await dump(pool))["archive"]) == 42


async def test_a_log_that_lost_its_end_is_not_followed_until_it_is_back(pool):
    events = Story(11).tell(100)
    await project(pool, events[:80])
    log = StoredLog(events[:60])
    projector = Projector(log, pool)

    async def mismatch():
        return await problems(pool) == [(LOG, 80, "mismatch")]

    async with running(projector):
        await until(mismatch)
        await log.add(*events[60:])
        await at_the_end(projector)
    assert await problems(pool) == []


async def test_a_log_that_loses_its_end_later_is_noticed_in_the_next_silences(pool, monkeypatch):
    monkeypatch.setattr(service, "IDLE_S", 0.01)
    events = Story(15).tell(100)
    log = StoredLog(events)
    projector = Projector(log, pool)

    async def mismatch():
        return await problems(pool) == [(LOG, 100, "mismatch")]

    async with running(projector):
        await at_the_end(projector)
        del log.events[90:]
        await until(mismatch)


async def test_another_log_is_not_mixed_into_the_rows(pool):
    await project(pool, Story(12).tell(80))
    rows = await dump(pool)
    projector = Projector(StoredLog(Story(13).tell(100)), pool)

    async def mismatch():
        return await problems(pool) == [(LOG, 80, "mismatch")]

    async with running(projector):
        await until(mismatch)
    assert await dump(pool) == rows


async def test_what_is_wrong_for_good_is_raised(pool):
    async with using(pool) as conn:
        await conn.execute("DROP TABLE projection_positions")
    with pytest.raises(psycopg.errors.UndefinedTable):
        await asyncio.wait_for(Projector(StoredLog(), pool).run(), 10)
