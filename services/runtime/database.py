"""The database of read models: connections, migrations, and reads that see one tenant only."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import AsyncConnection, errors, sql
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from services.errors import Permanent, Transient

Conn: TypeAlias = AsyncConnection[Any]
Pool: TypeAlias = AsyncConnectionPool[Conn]
Migration: TypeAlias = tuple[str, Callable[[Conn], Awaitable[None]]]

READER: Final = "penstock_reader"  # sees the rows of one tenant; the tables' policies name it
MIGRATION_LOCK: Final = 0x50454E53  # key of the advisory lock: never change
WAIT_S: Final = 5.0  # longest wait for a free connection

_CREATE_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS penstock_migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class DatabaseUnavailable(Transient):
    """The database of read models does not answer; the log goes on without it."""


class ReaderMissing(Permanent):
    """The role that readers take does not exist, and we may not create it."""

    def __init__(self, user: str) -> None:
        super().__init__(
            f"the database user {user!r} may not create the role {READER!r}: as an administrator, "
            f'run: CREATE ROLE {READER} NOLOGIN; GRANT {READER} TO "{user}";'
        )


async def connect(url: str, *, most: int = 8, wait_s: float = WAIT_S) -> Pool:
    """Return an open pool; its connections are made when first needed.

    Args:
        url: `postgresql://…`
        most: Connections at once.
        wait_s: Longest wait for one of them.
    """
    pool: Pool = AsyncConnectionPool(
        url,
        min_size=0,
        max_size=most,
        timeout=wait_s,
        reconnect_timeout=wait_s,  # else its pauses grow to minutes while the database is away
        open=False,
        check=AsyncConnectionPool.check_connection,
        kwargs={"application_name": "penstock"},
    )
    await pool.open()
    return pool


@contextmanager
def _answering() -> Iterator[None]:
    """Raise `DatabaseUnavailable` where the database is away, or stays busy."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseUnavailable(f"the database does not answer: {error}") from error


@asynccontextmanager
async def using(pool: Pool) -> AsyncIterator[Conn]:
    """Lend a connection that sees and writes every tenant's rows, in one transaction.

    Raises:
        DatabaseUnavailable: no connection in time, or it broke.
    """
    with _answering():
        async with _lent(pool) as conn, conn.transaction():
            yield conn


@asynccontextmanager
async def reading(pool: Pool, tenant: str) -> AsyncIterator[Conn]:
    """Lend a connection that sees the rows of `tenant` and nothing else, and writes nothing.

    Raises:
        DatabaseUnavailable: no connection in time, or it broke.
    """
    async with using(pool) as conn:
        await conn.execute(
            "SELECT set_config('role', %s, true), set_config('penstock.tenant', %s, true)",
            (READER, tenant),
        )
        yield conn


@asynccontextmanager
async def session(pool: Pool) -> AsyncIterator[Conn]:
    """Lend a connection in autocommit mode; settings and advisory locks on it end with the loan.

    Raises:
        DatabaseUnavailable: no connection in time, or it broke, or something is locked for long.
    """
    with _answering():
        async with _lent(pool) as conn:
            await conn.set_autocommit(True)
            try:
                yield conn
            finally:
                await _give_back(conn)


@asynccontextmanager
async def _lent(pool: Pool) -> AsyncIterator[Conn]:
    """Lend a connection of the pool.

    The pool loses a cancellation that comes in the same moment as the connection; a task that is
    to stop would then go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    async with pool.connection() as conn:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        yield conn


async def _give_back(conn: Conn) -> None:
    """Make the connection like new, or close it: the pool then makes another."""
    try:
        if conn.info.transaction_status is TransactionStatus.IDLE:
            await conn.execute("SELECT pg_advisory_unlock_all()")
            await conn.execute("RESET ALL")
            await conn.set_autocommit(False)
            return
    except psycopg.Error:
        pass  # it broke just now; whatever its user was doing matters more
    await conn.close()


async def migrate(pool: Pool, migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing, all of it or nothing; safe when many start at once.

    Returns:
        The names of what was applied, in order.

    Raises:
        DatabaseUnavailable: no connection in time, or it broke.
        ReaderMissing: an administrator has to create the readers' role first.
    """
    applied: list[str] = []
    async with using(pool) as conn:
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        await conn.execute(_CREATE_MIGRATIONS)
        cursor = await conn.execute("SELECT name FROM penstock_migrations")
        known = {row[0] for row in await cursor.fetchall()}
        missing = [migration for migration in migrations if migration[0] not in known]
        if missing:
            await _ensure_reader(conn)
        for name, apply in missing:
            await apply(conn)
            await conn.execute("INSERT INTO penstock_migrations (name) VALUES (%s)", (name,))
            applied.append(name)
    return applied


async def _ensure_reader(conn: Conn) -> None:
    """Create the role, or take the one there is, and make sure that we may become it."""
    role = sql.Identifier(READER)
    found = await conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (READER,))
    try:
        if await found.fetchone() is None:
            async with conn.transaction():
                await conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
    except (errors.DuplicateObject, errors.UniqueViolation):
        pass  # another database of the same server made it just now
    except errors.InsufficientPrivilege as error:
        raise ReaderMissing(conn.info.user) from error
    await _may_become(conn)
    schema = await (await conn.execute("SELECT current_schema()")).fetchone()
    if schema is not None:
        grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}")
        await conn.execute(grant.format(sql.Identifier(schema[0]), role))


async def _may_become(conn: Conn) -> None:
    """Make ourselves a member of the readers' role, unless we are."""
    how = "SET" if conn.info.server_version >= 160_000 else "MEMBER"
    member = await conn.execute("SELECT pg_has_role(current_user, %s, %s)", (READER, how))
    if await member.fetchone() == (True,):
        return
    try:
        async with conn.transaction():
            await conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(READER)))
    except errors.InsufficientPrivilege as error:
        raise ReaderMissing(conn.info.user) from error
