"""Run the projector: follow the log, write batches, move positions with them.

Consumes:  everything, by one unfiltered tail that all projections share
Writes:    the tables of `projections`, each with its position, in one transaction a batch
Never:     appends an event; skips one silently

Any number of replicas may run: one leads, holding an advisory lock on the connection that it writes
with, and another takes over when that connection ends. Even two that both believed to lead could
not apply an event twice, because a position moves only from where it was.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import psycopg
import structlog

from projections import positions
from projections.positions import Moved
from projections.registry import MIGRATIONS, PROJECTIONS, Projection
from services.errors import Permanent, ServiceError, Transient
from services.projector.applying import Member, family, take_in
from services.projector.compare import compare
from services.projector.feed import batched
from services.projector.indexing import Indexer
from services.projector.pack import Pack
from services.projector.rebuild import rebuild
from services.projector.source import LogSource
from services.runtime.cancelling import end
from services.runtime.clock import Clock, SystemClock
from services.runtime.database import Conn, Pool, migrate, session, using
from services.runtime.event_log import EVERYTHING, EventLog

LEADER_LOCK: Final = 0x50524F4A  # key of the advisory lock: never change
STANDBY_S: Final = 1.0  # how often a replica looks whether it may lead
BATCH: Final = 1_000  # events a transaction
# A crash of the database loses rows together with their positions, and they are made again.
# Waiting for its disk would slow the log, which shares that disk, and must wait.
ASYNCHRONOUS: Final = "SELECT set_config('synchronous_commit', 'off', false)"
LINGER_S: Final = 0.05  # how long an event may wait for company
IDLE_S: Final = 1.0  # of silence, after which newcomers are looked for
COMPARE_EVERY: Final = 10  # silences between two looks at the end of the log
NEAR: Final = 1_000  # events behind: nearer ones follow the shared tail, others catch up first
BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)  # then every 5 s

log = structlog.get_logger()


class NewerRows(Permanent):
    """A newer version of us has rebuilt these rows; it will go on with them."""


class Projector:
    """Keeps every read model at the end of the log."""

    def __init__(
        self,
        event_log: EventLog,
        pool: Pool,
        *,
        projections: Sequence[Projection] = PROJECTIONS,
        indexer: Indexer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._log = event_log
        self._pool = pool
        self._projections = projections
        self._indexer = indexer
        self._clock = clock or SystemClock()
        self._joining: list[Member] = []
        self._late: set[asyncio.Task[None]] = set()
        self._pack: Pack | None = None

    async def run(self) -> None:
        """Project until cancelled, through outages of the log and of the database."""
        failures = 0
        while True:
            try:
                await migrate(self._pool, MIGRATIONS)
                async with self._leading() as conn:
                    await self._project(conn)
            except Moved:
                log.info("projector.reloaded")
            except (psycopg.Error, ServiceError) as error:
                if isinstance(error, psycopg.Error) and family(error) != "transient":
                    raise
                expected = isinstance(error, Transient | psycopg.Error)
                (log.warning if expected else log.error)("projector.waiting", reason=str(error))
                await self._clock.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
                continue
            failures = 0

    async def lag(self) -> dict[str, int]:
        """Return how many events each projection is behind the end of the log.

        Raises:
            DatabaseUnavailable, LogUnavailable: one of them does not answer.
        """
        end = await LogSource(self._log).end()
        async with using(self._pool) as conn:
            return await positions.lags(conn, end)

    @asynccontextmanager
    async def _leading(self) -> AsyncIterator[Conn]:
        """Wait until no other replica leads, and lend the connection that holds the lead."""
        while True:
            async with session(self._pool) as conn:
                cursor = await conn.execute("SELECT pg_try_advisory_lock(%s)", (LEADER_LOCK,))
                if await cursor.fetchone() == (True,):
                    log.info("projector.leading")
                    await conn.execute(ASYNCHRONOUS)
                    yield conn
                    return
            await self._clock.sleep(STANDBY_S)

    async def _project(self, conn: Conn) -> None:
        """Follow the log with every projection that is near the front; bring up the others."""
        await compare(conn, self._log)
        if self._indexer:  # what it knows may have been lost with the last connection
            self._indexer.start_over()
        found = await positions.listing(conn)
        members = [Member(each, found[each.name].seq) for each in self._projections]
        front = max((member.seq for member in members), default=0)
        near = [
            member
            for member in members
            if found[member.name].version == member.projection.version and member.seq > front - NEAR
        ]
        start = min((member.seq for member in near), default=front)
        self._joining = []
        self._pack = Pack(conn, self._log, near, start, self._send_away)
        for member in members:
            if member not in near:
                self._send_away(member)
        try:
            await self._follow(conn, self._pack)
        finally:
            await end(*self._late)

    async def _follow(self, conn: Conn, pack: Pack) -> None:
        """Write what the log brings, for ever."""
        tail = self._log.tail(EVERYTHING, after=pack.seq)
        silences = 0
        feed = batched(tail, most=BATCH, linger_s=LINGER_S, idle_s=IDLE_S)
        async with aclosing(feed) as batches:
            async for batch in batches:
                while self._joining:
                    await pack.adopt(self._joining.pop())
                    if self._indexer:
                        self._indexer.start_over()
                if batch:
                    await pack.write(batch)
                    if self._indexer:
                        self._indexer.on_written(batch)
                    continue
                silences += 1
                if silences % COMPARE_EVERY == 0:
                    await compare(conn, self._log)

    def _send_away(self, member: Member) -> None:
        """Let a member catch up on its own; it joins the pack when it is near."""
        task = asyncio.create_task(self._bring_up(member))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _bring_up(self, member: Member) -> None:
        failures = 0
        while True:
            try:
                await self._try_bring_up(member)
            except (psycopg.Error, ServiceError, Moved) as error:
                log.warning("projection.waiting", projection=member.name, reason=str(error))
                await self._clock.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
                continue
            self._joining.append(member)
            return

    async def _try_bring_up(self, member: Member) -> None:
        source = LogSource(self._log)
        async with using(self._pool) as conn:
            position = (await positions.listing(conn))[member.name]
        if position.version > member.projection.version:
            raise NewerRows(f"{member.name} has rows of version {position.version}")
        if position.version < member.projection.version:
            member.seq = (await rebuild(self._pool, member.name, source)).seq
            return
        member.seq = position.seq
        until: int | None = None
        async with session(self._pool) as conn:
            while until is None or self._front() - until > NEAR:
                until = self._front()
                missed = batched(source.read(after=member.seq, until=until), most=BATCH)
                async with aclosing(missed) as batches:
                    async for batch in batches:
                        await take_in(conn, member, batch)
            await positions.clear(conn, member.name, "suspended")

    def _front(self) -> int:
        return self._pack.seq if self._pack else 0
