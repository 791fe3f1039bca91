"""Read models as the interface sees them: of one tenant, or away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from psycopg import errors

from projections import positions
from services.runtime import database
from services.runtime.database import Conn, DatabaseUnavailable, Pool
from services.runtime.process import Process

PATIENCE_S: Final = 2.0  # how long a list waits for what was just changed
POLL_S: Final = 0.02

_UNMADE = (errors.UndefinedTable, errors.InvalidParameterValue)  # no table yet, no role to read as


@asynccontextmanager
async def of_tenant(pool: Pool, tenant: str) -> AsyncIterator[Conn]:
    """Lend a connection that sees the rows of `tenant` alone.

    Raises:
        DatabaseUnavailable: the database is away, or the projector has not made the tables yet.
    """
    try:
        async with database.reading(pool, tenant) as conn:
            yield conn
    except _UNMADE as error:
        raise DatabaseUnavailable("the read models are not there yet") from error


@asynccontextmanager
async def any_tenant(pool: Pool) -> AsyncIterator[Conn]:
    """Lend a connection that sees everything, for numbers about the installation.

    Raises:
        DatabaseUnavailable: as for `of_tenant`.
    """
    try:
        async with database.using(pool) as conn:
            yield conn
    except _UNMADE as error:
        raise DatabaseUnavailable("the read models are not there yet") from error


async def caught_up(process: Process, projection: str, pattern: str) -> None:
    """Wait until a read model has what the log has of a pattern; not for ever.

    Raises:
        DatabaseUnavailable: as for `of_tenant`.
        LogUnavailable: the log does not say how far it is.
    """
    newest = await process.log.last(pattern, fresh=True)
    if newest is None:
        return
    deadline = process.clock.monotonic() + PATIENCE_S
    while True:
        async with any_tenant(process.pool) as conn:
            position = (await positions.listing(conn)).get(projection)
        if position is not None and position.seq >= newest.seq:
            return
        if process.clock.monotonic() >= deadline:
            return
        await process.clock.sleep(POLL_S)
