"""Read models as the interface sees them: of one tenant, or away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import errors

from services.runtime import database
from services.runtime.database import Conn, DatabaseUnavailable, Pool

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
