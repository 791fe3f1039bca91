"""Build a projection aside, beside the live one: to take its place, or to check it.

The tables are made in a schema of their own and filled by the same code as the live ones. Readers
never see them before the swap, which is one transaction. A process that dies in the middle leaves
a schema that the next build drops.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import structlog
from psycopg import errors, sql

from projections import archive, positions
from projections.positions import Position
from projections.registry import BY_NAME, Projection
from services.errors import Rejected
from services.projector.applying import Member, take_in
from services.projector.feed import batched, holes
from services.projector.source import Source
from services.runtime.clock import Clock, SystemClock
from services.runtime.database import Conn, Pool, session

BATCH: Final = 2_000  # events a transaction
CLOSE: Final = (
    500  # a build this near to the end of the log may stop the live projector for the rest
)
SWAP_LOCK: Final = "2s"  # longest that a swap keeps new readers waiting behind old ones
SWAP_ATTEMPTS: Final = 30

log = structlog.get_logger()


class UnknownProjection(Rejected):
    """There is no projection of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no projection {name!r}; there are: {', '.join(BY_NAME)}")


class AlreadyBuilding(Rejected):
    """Another process is building this projection aside at this moment."""


class MayNotBuild(Rejected):
    """The database does not let us make the schema to build in."""

    def __init__(self, database: str, user: str) -> None:
        super().__init__(
            f"{user!r} may not create a schema in {database!r}: as an administrator, "
            f'run: GRANT CREATE ON DATABASE "{database}" TO "{user}";'
        )


class WouldLose(Rejected):
    """The new rows would lack events that only the old ones have."""


class SourceTooShort(Rejected):
    """The source ends before the live projection, so it cannot take its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild did."""

    name: str
    events: int
    """Events read."""
    missing: int
    """Events that the source lacks: damage, see verify."""
    set_aside: int
    """Events that the projection could not take in."""
    seq: int
    """Position of the new rows."""
    seconds: float


class Builder(Member):
    """A projection that is built aside; nobody else moves it."""

    def __init__(self, conn: Conn, projection: Projection, source: Source, live: str) -> None:
        super().__init__(projection, 0)
        self.conn = conn
        self.live = live
        """Schema of the live tables."""
        self.schema = schema_of(projection.name)
        self.events = 0
        self.missing = 0
        self.set_aside = 0
        self._source = source

    @property
    def name(self) -> str:
        """Return the name under which problems are kept until the swap."""
        return self.schema

    async def move(self, conn: Conn, seq: int) -> None:
        """Do nothing: the swap sets the position."""

    async def start(self) -> None:
        """Make the empty tables."""
        schema = sql.Identifier(self.schema)
        async with self.conn.transaction():
            await self.conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
            await self.conn.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
            await self.conn.execute(
                "SELECT set_config('search_path', %s || ', ' || current_setting('search_path'), "
                "false), set_config('synchronous_commit', 'off', false)",
                (self.schema,),
            )
            await self.projection.create(self.conn)
            await positions.clear(self.conn, self.schema)

    async def advance(self, until: int) -> None:
        """Take in the events up to `until`."""
        events = self._source.read(after=self.seq, until=until)
        async with aclosing(batched(events, most=BATCH)) as batches:
            async for batch in batches:
                self.missing += sum(map(len, holes(self.seq, batch)))
                self.set_aside += await take_in(self.conn, self, batch)
                self.events += len(batch)

    async def catch_up(self) -> None:
        """Take in what the source has, then make the indexes, then take in what came meanwhile."""
        while await self._source.end() - self.seq > CLOSE:
            await self.advance(await self._source.end())
        await self.projection.index(self.conn)
        await self.advance(await self._source.end())

    async def swap(self) -> None:
        """Put the new tables in place of the live ones, the position included, in one moment.

        Raises:
            SourceTooShort: the live projection has events that the source has not.
            LockNotAvailable: a reader does not end.
        """
        before = self.seq
        try:
            async with self.conn.transaction():
                await self.conn.execute("SELECT set_config('lock_timeout', %s, true)", (SWAP_LOCK,))
                await self._take_place()
        except BaseException:
            self.seq = before  # what was taken in here is rolled back
            raise

    async def _take_place(self) -> None:
        conn, name = self.conn, self.projection.name
        held = await positions.hold(conn, name)
        if held.seq > self.seq:
            await self.advance(held.seq)
        if held.seq > self.seq:
            raise SourceTooShort(f"{name} is at {held.seq}, the source ends at {self.seq}")
        for table in self.projection.tables:
            await self._put_in_place(table)
        await positions.put(conn, Position(name, self.seq, self.projection.version))
        await positions.clear(conn, name)
        await positions.rename(conn, self.schema, name)

    async def _put_in_place(self, table: str) -> None:
        old, new = sql.Identifier(self.live, table), sql.Identifier(self.schema, table)
        await self.conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(old))
        await self.conn.execute(
            sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(new, sql.Identifier(self.live))
        )

    async def drop(self) -> None:
        """Remove what was built and not put in place."""
        async with self.conn.transaction():
            await self.conn.execute(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(self.schema))
            )
            await positions.clear(self.conn, self.schema)


async def rebuild(
    pool: Pool,
    name: str,
    source: Source,
    *,
    accept_loss: bool = False,
    clock: Clock | None = None,
) -> Rebuilt:
    """Build a projection anew from `source` and put it in place of the live one.

    Args:
        pool: The database.
        name: Which projection.
        source: Where events come from.
        accept_loss: True to replace an archive that has events which the log has lost.
        clock: Waits between attempts to swap.

    Raises:
        UnknownProjection, AlreadyBuilding, MayNotBuild, WouldLose, SourceTooShort, Suspended,
        DatabaseUnavailable, LogUnavailable: nothing was changed.
    """
    started = perf_counter()
    clock = clock or SystemClock()
    async with aside(pool, name, source) as builder:
        await builder.catch_up()
        if name == archive.NAME and not accept_loss:
            await _refuse_loss(builder)
        for attempt in range(1, SWAP_ATTEMPTS + 1):
            try:
                await builder.swap()
                break
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                if attempt == SWAP_ATTEMPTS:
                    raise
                await clock.sleep(0.2)
        rebuilt = Rebuilt(
            name=name,
            events=builder.events,
            missing=builder.missing,
            set_aside=builder.set_aside,
            seq=builder.seq,
            seconds=perf_counter() - started,
        )
    log.info(
        "projection.rebuilt",
        projection=name,
        events=rebuilt.events,
        missing=rebuilt.missing,
        set_aside=rebuilt.set_aside,
        seq=rebuilt.seq,
        seconds=round(rebuilt.seconds, 2),
    )
    return rebuilt


@asynccontextmanager
async def aside(pool: Pool, name: str, source: Source) -> AsyncIterator[Builder]:
    """Lend a builder with empty tables; what it leaves unused is dropped.

    Raises:
        UnknownProjection: there is none of this name.
        AlreadyBuilding: another process builds it.
        MayNotBuild: an administrator has to allow it first.
    """
    if name not in BY_NAME:
        raise UnknownProjection(name)
    async with session(pool) as conn:
        cursor = await conn.execute(
            "SELECT pg_try_advisory_lock(hashtext(%s)), current_schema()", (schema_of(name),)
        )
        locked, live = await cursor.fetchone() or (False, "")
        if not locked:
            raise AlreadyBuilding(f"{name} is being built by another process")
        builder = Builder(conn, BY_NAME[name], source, live)
        try:
            await builder.start()
        except errors.InsufficientPrivilege as error:
            raise MayNotBuild(conn.info.dbname, conn.info.user) from error
        try:
            yield builder
        finally:
            if not conn.closed:
                await builder.drop()


def schema_of(name: str) -> str:
    """Return the schema in which a projection is built aside."""
    return f"rebuild_{name}"


async def _refuse_loss(builder: Builder) -> None:
    """Refuse an archive that lacks what the live one has: it may be the only copy."""
    cursor = await builder.conn.execute(
        sql.SQL(
            "SELECT count(*), min(seq), max(seq) FROM {} AS old "
            "WHERE seq <= %s AND NOT EXISTS (SELECT FROM {} AS new WHERE new.seq = old.seq)"
        ).format(
            sql.Identifier(builder.live, "archive"), sql.Identifier(builder.schema, "archive")
        ),
        (builder.seq,),
    )
    lost, first, last = await cursor.fetchone() or (0, 0, 0)
    if lost:
        raise WouldLose(f"the log lacks {lost} events between {first} and {last}: see verify")
