"""Migrations run once however many start; readers see one tenant; owners need no superuser."""

import asyncio
from itertools import count

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from projections import conversations
from projections.registry import MIGRATIONS, PROJECTIONS, VECTOR_MIGRATIONS
from services.projector.rebuild import MayNotBuild, rebuild
from services.projector.source import LogSource
from services.runtime import database
from services.runtime.database import DatabaseUnavailable, ReaderMissing, reading, session, using
from tests.support.minds import Minds
from tests.support.read_models import TABLES, StoredLog, dump, project
from tests.support.servers import until
from tests.support.stories import TENANTS, Story

pytestmark = pytest.mark.integration
users = count(1)


@pytest.fixture
async def owned(database_url):
    """A database whose owner is no superuser and may create no roles; also the administrator."""
    name = f"owner_{next(users)}"
    database_name = conninfo_to_dict(database_url)["dbname"]
    role, owned = sql.Identifier(name), sql.Identifier(str(database_name))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
        await admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'own'").format(role))
        await admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(owned, role))
        await admin.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(role))
        yield make_conninfo(database_url, user=name, password="own"), admin, role
        await admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
        await admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(owned))
        await admin.execute(sql.SQL("DROP ROLE {}").format(role))


async def test_migrations_are_applied_once_however_many_start_at_once(database_url):
    pools = [await database.connect(database_url) for _ in range(6)]
    applied = await asyncio.gather(*(database.migrate(each, MIGRATIONS) for each in pools))
    names = [name for name, _ in MIGRATIONS]
    assert sorted(applied) == [[], [], [], [], [], names]
    for each in pools:
        await each.close()


async def test_a_migration_that_fails_leaves_nothing_behind(database_url):
    async def breaks(conn):
        await conn.execute("SELECT 1 / 0")

    pool = await database.connect(database_url)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await database.migrate(pool, [*MIGRATIONS, ("breaks", breaks)])
    assert await database.migrate(pool, MIGRATIONS) == [name for name, _ in MIGRATIONS]
    await pool.close()


@pytest.mark.parametrize("table", TABLES)
async def test_a_reader_sees_the_rows_of_its_tenant_and_nobody_elses(pool, table):
    await project(pool, Story(41).tell(3_000))
    query = sql.SQL("SELECT tenant, count(*) FROM {} GROUP BY 1").format(sql.Identifier(table))
    async with using(pool) as conn:
        everything = dict(await (await conn.execute(query)).fetchall())
    assert set(everything) == set(TENANTS)
    for tenant in TENANTS:
        async with reading(pool, tenant) as conn:
            assert dict(await (await conn.execute(query)).fetchall()) == {
                tenant: everything[tenant]
            }
    for nobody in ("", "acme ", "%", "initech"):
        async with reading(pool, nobody) as conn:
            assert await (await conn.execute(query)).fetchall() == []


async def test_every_table_of_ours_that_has_a_tenant_is_protected(pool):
    async with using(pool) as conn:
        cursor = await conn.execute(
            "SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid "
            "WHERE c.relkind = 'r' AND a.attname = 'tenant' "
            "AND c.relnamespace = 'public'::regnamespace "
            "AND c.relrowsecurity AND c.relforcerowsecurity"
        )
        assert {row[0] for row in await cursor.fetchall()} == set(TABLES)


async def test_a_reader_without_a_tenant_sees_nothing(pool):
    await project(pool, Story(42).tell(500))
    async with pool.connection() as conn:
        await conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(database.READER)))
        for table in TABLES:
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            assert await (await conn.execute(query)).fetchone() == (0,)
        await conn.rollback()


@pytest.mark.parametrize("table", TABLES)
async def test_a_reader_writes_nothing(pool, table):
    for command in ("DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET tenant = 'x'"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with reading(pool, "acme") as conn:
                await conn.execute(sql.SQL(command).format(sql.Identifier(table)))


async def test_the_tenant_is_forgotten_with_the_transaction(pool):
    async with reading(pool, "acme"):
        pass
    async with using(pool) as conn:
        cursor = await conn.execute(
            "SELECT current_user = session_user, current_setting('penstock.tenant', true)"
        )
        assert (await cursor.fetchone()) in {(True, ""), (True, None)}


async def test_settings_and_locks_end_with_a_session(pool):
    async with session(pool) as conn:
        await conn.execute("SELECT pg_advisory_lock(7)")
        await conn.execute("SET search_path = pg_catalog")
        pid = conn.info.backend_pid
    async with pool.connection() as conn:
        assert conn.info.backend_pid == pid
        assert not conn.autocommit
        cursor = await conn.execute(
            "SELECT current_schema(), count(*) FROM pg_locks WHERE locktype = 'advisory' "
            "AND pid = pg_backend_pid()"
        )
        assert await cursor.fetchone() == ("public", 0)


async def test_an_owner_who_may_not_make_the_role_is_told_what_to_run(owned):
    url, admin, role = owned
    pool = await database.connect(url)
    with pytest.raises(ReaderMissing, match="GRANT penstock_reader TO"):
        await database.migrate(pool, MIGRATIONS)
    await admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(database.READER), role))
    await database.migrate(pool, MIGRATIONS)
    await pool.close()


async def test_an_owner_without_superuser_projects_rebuilds_and_reads(owned):
    url, admin, role = owned
    await admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(database.READER), role))
    pool = await database.connect(url)
    await database.migrate(pool, MIGRATIONS)
    events = Story(43).tell(600)
    await project(pool, events)
    before = await dump(pool)
    assert all(before[table] for table in ("archive", "messages", "runs", "memories"))
    for projection in PROJECTIONS:
        await rebuild(pool, projection.name, LogSource(StoredLog(events)))
    assert await dump(pool) == before
    async with reading(pool, "acme") as conn:
        assert await conversations.listing(conn, "acme")
        assert await conversations.listing(conn, "globex") == []
    await pool.close()


async def test_an_owner_without_superuser_recalls_by_meaning(owned):
    url, admin, role = owned
    await admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(database.READER), role))
    pool = await database.connect(url)
    await database.migrate(pool, MIGRATIONS)
    await database.migrate(pool, VECTOR_MIGRATIONS)
    minds = Minds(pool)
    await minds.save("the cat sleeps")
    await minds.save("the cat of another tenant", tenant="globex")
    await pool.close()
    minds.pool = await database.connect(url)  # a connection that has not used vectors yet
    (hit,) = await minds.hits("kitten sleeps")
    assert (hit.text, hit.text_rank, hit.vector_rank) == ("the cat sleeps", 1, 1)
    await minds.pool.close()


async def test_who_may_not_make_a_schema_is_told_what_to_run(owned):
    url, admin, role = owned
    await admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(database.READER), role))
    name = sql.Identifier(admin.info.dbname)
    await admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(name))
    pool = await database.connect(url)
    await database.migrate(pool, MIGRATIONS)
    with pytest.raises(MayNotBuild, match="GRANT CREATE ON DATABASE"):
        await rebuild(pool, "runs", LogSource(StoredLog()))
    await pool.close()


async def test_a_database_that_is_not_there_is_said_to_be_unavailable():
    pool = await database.connect("postgresql://nobody@127.0.0.1:1/none", wait_s=0.3)
    with pytest.raises(DatabaseUnavailable):
        async with using(pool):
            pass
    with pytest.raises(DatabaseUnavailable):
        await rebuild(pool, "runs", LogSource(StoredLog()))
    await pool.close()


async def test_a_cancellation_is_not_lost_with_a_connection_that_comes_at_the_same_moment(pool):
    """The only connection comes back, and the one who waits for it is cancelled right then."""
    used = asyncio.Event()
    pool_of_one = await database.connect(pool.conninfo, most=1)
    async with using(pool_of_one):

        async def wait():
            async with using(pool_of_one):
                used.set()

        waiting = asyncio.create_task(wait())

        async def queued():
            return pool_of_one.get_stats().get("requests_waiting")

        await until(queued)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not used.is_set()
    await pool_of_one.close()
