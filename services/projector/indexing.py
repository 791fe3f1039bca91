"""Keep a vector for every memory and every passage, so that they are found by meaning.

Reads:   what has no vector, memories first; it is told at once when the projector has written some
Writes:  `embeddings`, `vectors`, `passage_vectors`, `vector_models`
Never:   holds up a projection; makes a vector twice

Any number of replicas may run: one works at a time, and what two of them did would be the same.
Everything here can be lost and is made again; a text that had a vector is not embedded again.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import psycopg
import structlog

from projections import passage_vectors, positions, vectors
from projections.positions import Problem
from projections.registry import MIGRATIONS, VECTOR_MIGRATIONS
from schemas.ingest import ChunksRemoved, ChunksStored, DocumentForgotten
from schemas.memory import MemoryForgotten, MemorySaved
from schemas.subjects import parse
from services.errors import Transient
from services.projector.embedding_page import Page, Unusable, same, start
from services.runtime.clock import Clock
from services.runtime.database import Conn, Pool, migrate, session, using
from services.runtime.embedding import Embedder, EmbedderUnavailable
from services.runtime.event_log import Recorded

NAME: Final = "vectors"  # under which problems are kept: never rename
LOCK: Final = 0x56454354  # key of the advisory lock: never change
BATCH: Final = 64  # memories a transaction; others' questions are answered in between
PASSAGES: Final = 16  # a transaction, some 150 parts: a second or less of what a memory waits
LOOK_S: Final = 60.0  # how often to look without being told, for what another replica projected
RETRY_S: Final = 2.0  # after an outage, or while another replica works
PATIENT_S: Final = 30.0  # after the embedder said that there are no vectors

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Ahead:
    """Passages whose vectors are made while those before them are kept."""

    passages: Sequence[passage_vectors.Missing]
    parts: Sequence[passage_vectors.Part]
    page: Page


class Indexer:
    """Makes what is missing, then waits to be told that there is more."""

    def __init__(self, pool: Pool, embedder: Embedder, clock: Clock) -> None:
        self._pool = pool
        self._embedder = embedder
        self._clock = clock
        self._more = asyncio.Event()
        self._gone: dict[str, set[str]] = {}
        """Memories that are not valid any more, by tenant."""
        self._emptied: set[tuple[str, str]] = set()
        """Tenant and agent that have passages no more."""
        self._after = 0
        """Every valid memory up to this sequence has its vector."""
        self._passages_after = 0
        """Every passage below this sequence has its vector."""
        self._ahead: _Ahead | None = None
        self._migrated = False

    def on_written(self, events: Sequence[Recorded]) -> None:
        """Hear what the projector has just written."""
        for recorded in events:
            match recorded.event:
                case MemorySaved(replaces=replaces):
                    self._more.set()
                    gone = [each.memory_id for each in replaces]
                case MemoryForgotten(memory_id=memory_id):
                    gone = [memory_id]
                case ChunksStored():
                    self._more.set()
                    continue
                case ChunksRemoved() | DocumentForgotten():
                    where = parse(recorded.subject)
                    self._emptied.add((where.tenant, where.agent or ""))
                    self._more.set()
                    continue
                case _:
                    continue
            if gone:
                self._gone.setdefault(parse(recorded.subject).tenant, set()).update(gone)
                self._more.set()

    def start_over(self) -> None:
        """Look at everything again: it was written by other hands."""
        self._after = self._passages_after = 0
        self._more.set()

    async def run(self) -> None:
        """Index until cancelled, through outages of the database and of the embedder."""
        while True:
            wait_s = await self._pass()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._more.wait()
            if self._more.is_set() and wait_s != LOOK_S:
                await self._clock.sleep(RETRY_S)

    async def _pass(self) -> float:
        """Make what is missing; return for how long there is nothing more to do."""
        try:
            if not self._migrated:
                await migrate(self._pool, MIGRATIONS)  # it may be here before the projector
                await migrate(self._pool, VECTOR_MIGRATIONS)
                self._migrated = True
            async with session(self._pool) as conn:
                cursor = await conn.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
                if await cursor.fetchone() != (True,):
                    return RETRY_S
                try:
                    await self._index(conn)
                finally:
                    await self._drop()
        except EmbedderUnavailable as error:
            log.debug("vectors.waiting", reason=str(error))
            return PATIENT_S
        except (Transient, psycopg.OperationalError) as error:
            # a database that crashed may have lost what it had confirmed
            self._migrated, self._after, self._passages_after = False, 0, 0
            log.warning("vectors.waiting", reason=str(error))
            return RETRY_S
        except (Unusable, psycopg.Error) as error:
            await self._note(error)
            return LOOK_S
        return LOOK_S

    async def _index(self, conn: Conn) -> None:
        name = self._embedder.model
        if self._after == 0:
            await vectors.sweep(conn)
        if self._passages_after == 0:
            await passage_vectors.sweep(conn)
        found = await vectors.model(conn, name)
        if found is not None and self._embedder.dimensions:
            same(found, self._embedder.dimensions)
        while True:
            self._more.clear()
            await self._take_out(conn)
            if not await self._fill(conn, name) and not self._more.is_set():
                break
        await self._switch(conn, name)

    async def _take_out(self, conn: Conn) -> None:
        """Let go of the vectors of what is not there any more."""
        gone, self._gone = self._gone, {}
        for tenant, ids in gone.items():
            await vectors.remove(conn, tenant, list(ids))
        emptied, self._emptied = self._emptied, set()
        for tenant, agent in emptied:
            await passage_vectors.sweep(conn, tenant, agent)

    async def _fill(self, conn: Conn, name: str) -> bool:
        """Make some vectors that are missing; tell whether there were any."""
        memories = await vectors.missing(conn, name, after=self._after, limit=BATCH)
        if memories:
            page = await start(conn, self._embedder, memories)
            try:
                await page.keep(conn, partial(vectors.add, conn, name, memories))
            finally:
                await page.drop()
            self._after = memories[-1].seq
            return True
        await self._begin(conn, name)
        return await self._fill_passages(conn, name)

    async def _fill_passages(self, conn: Conn, name: str) -> bool:
        """Have vectors of some passages made, and keep those of the ones before them."""
        before = self._ahead
        passages = await self._next_passages(conn, name, before)
        ahead = None
        if passages:
            parts = list(passage_vectors.divided(passages))
            page = await start(conn, self._embedder, parts, before=before.page if before else None)
            ahead = _Ahead(passages, parts, page)
        self._ahead = ahead
        if before is not None:
            try:
                await before.page.keep(conn, partial(passage_vectors.add, conn, name, before.parts))
            finally:
                await before.page.drop()
            self._passages_after = before.passages[-1].seq
        return before is not None or ahead is not None

    async def _next_passages(
        self, conn: Conn, name: str, before: _Ahead | None
    ) -> list[passage_vectors.Missing]:
        """Return passages without vectors, but for those that get them just now."""
        if before is None:
            after = self._passages_after
            return await passage_vectors.missing(conn, name, after=after, limit=PASSAGES)
        after, waiting = before.passages[-1].seq, set(before.passages)
        found = await passage_vectors.missing(conn, name, after=after, limit=2 * PASSAGES)
        return [passage for passage in found if passage not in waiting][:PASSAGES]

    async def _drop(self) -> None:
        """Let go of what is not kept yet."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            await ahead.page.drop()

    async def _begin(self, conn: Conn, name: str) -> None:
        """Let searches use the first model before every passage has a vector of it."""
        found = await vectors.model(conn, name)
        if found is not None and not await vectors.is_any_ready(conn):
            async with conn.transaction():
                await vectors.switch(conn, name)

    async def _switch(self, conn: Conn, name: str) -> None:
        """Let searches use the model from now on: everything has a vector of it."""
        found = await vectors.model(conn, name)
        if found is None:
            return  # nothing yet
        async with conn.transaction():
            if not found.ready:
                await vectors.switch(conn, name)
                log.info("vectors.ready", model=name)
            await positions.clear(conn, NAME)
        for kind in (vectors, passage_vectors):
            if await kind.needs_index(conn, found):
                async with conn.transaction():
                    await kind.index(conn, found)
                log.info("vectors.indexed", model=name, table=kind.TABLE)

    async def _note(self, error: Exception) -> None:
        """Keep a problem for people to see."""
        log.error("vectors.suspended", reason=str(error))
        with suppress(Transient):
            async with using(self._pool) as conn:
                await positions.note(conn, Problem(NAME, 0, "suspended", str(error)))
