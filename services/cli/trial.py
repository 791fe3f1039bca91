"""Tables of their own to try a search on: made, filled, searched and dropped.

They lie in a schema of the installation's database, or in a server that is started for the trial
where nothing runs. A trial that was killed leaves a schema, which the next one drops.
"""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

from psycopg import sql

from projections import memories, vectors
from projections.memories import Meaning, Signals
from projections.registry import BY_NAME, MIGRATIONS, READER, TRIAL
from schemas.base import EventId, MemoryId
from schemas.envelope import encode, seal
from schemas.memory import MemorySaved
from schemas.subjects import Subject
from services.cli.exits import NotRunning
from services.cli.installation import Installation
from services.cli.retrieval import Asked, Outcome, Remembered, said_at
from services.runtime import ids
from services.runtime.database import Conn, Pool, connect, migrate, session
from services.runtime.embedded.postgres import EmbeddedPostgres
from services.runtime.embedding import Embedder
from services.runtime.memory import DEFAULT_IMPORTANCE
from services.runtime.recording import record

PREFIX: Final = "trial_"
TENANT: Final = "trial"
AGENT: Final = "main"
BATCH: Final = 64


@asynccontextmanager
async def database(here: Installation) -> AsyncIterator[Pool]:
    """Lend the installation's database, or one that is there for as long as it is lent."""
    async with AsyncExitStack() as stack:
        try:
            here.database_url  # noqa: B018 - raises where nothing runs
            pool = await stack.enter_async_context(here.pool())
        except NotRunning:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-")))
            server = EmbeddedPostgres(directory / "postgres")
            server.directory.mkdir()
            stack.push_async_callback(server.stop)
            await server.start()
            pool = await connect(server.url)
            stack.push_async_callback(pool.close)
            await migrate(pool, MIGRATIONS)
        yield pool


class Trial:
    """Empty tables of memories, on one connection."""

    def __init__(self, conn: Conn, embedder: Embedder | None) -> None:
        self._conn = conn
        self._embedder = embedder

    async def fill(self, remembered: Sequence[Remembered]) -> None:
        """Put these memories in place of those that are there."""
        tables = ", ".join(
            (*BY_NAME[memories.NAME].tables, "vectors", "vector_models", "vector_counts")
        )
        await self._conn.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(tables)))
        dated = [(said_at(memory, number), memory) for number, memory in enumerate(remembered)]
        subject = str(Subject(TENANT, AGENT, entity="memory"))
        events = []
        for seq, (at, memory) in enumerate(sorted(dated, key=lambda pair: pair[0]), 1):
            sealed = seal(_saved(memory), id=EventId(memory.id), at=at, actor="trial")
            events.append(record(seq, subject, encode(sealed)))
        await BY_NAME[memories.NAME].apply(self._conn, events)
        if self._embedder is not None:
            await self._embed(self._embedder)

    async def _embed(self, embedder: Embedder) -> None:
        after = 0
        while page := await vectors.missing(self._conn, embedder.model, after=after, limit=BATCH):
            made = await embedder.embed([memory.text for memory in page])
            keys = [memory.sha256 for memory in page]
            await vectors.add_model(self._conn, embedder.model, len(made[0]))
            await vectors.cache(self._conn, embedder.model, dict(zip(keys, made, strict=True)))
            await vectors.add(self._conn, embedder.model, page)
            after = page[-1].seq
        found = await vectors.model(self._conn, embedder.model)
        if found is not None:
            await vectors.switch(self._conn, embedder.model)
            if await vectors.needs_index(self._conn, found):
                await vectors.index(self._conn, found)
        await self._conn.execute("ANALYZE")

    async def ask(self, asked: Asked, *, signals: Signals, now: int, limit: int) -> Outcome:
        """Search once; the vector of the query is part of the time it takes."""
        started = perf_counter()
        meant: Meaning | None = None
        if self._embedder is not None and signals != "text":
            (vector,) = await self._embedder.embed([asked.text])
            meant = Meaning(self._embedder.model, vector)
        hits = await memories.recall(
            self._conn,
            TENANT,
            AGENT,
            asked.text,
            meaning=meant,
            signals=signals,
            now=now,
            limit=limit,
        )
        return Outcome(
            relevant=frozenset(asked.relevant),
            found=tuple(hit.memory_id for hit in hits),
            ms=(perf_counter() - started) * 1_000,
            kind=asked.kind,
        )


def _saved(memory: Remembered) -> MemorySaved:
    return MemorySaved(
        memory_id=MemoryId(memory.id),
        kind=memory.kind,
        text=memory.text,
        importance=DEFAULT_IMPORTANCE[memory.kind],
        person=f"trial:{memory.person}" if memory.person else None,
        conversation=f"trial/{memory.conversation or 'one'}",
    )


@asynccontextmanager
async def trial(pool: Pool, embedder: Embedder | None) -> AsyncIterator[Trial]:
    """Lend a trial, whose tables are dropped at the end, however it ends.

    Raises:
        DatabaseUnavailable: it is away.
    """
    name = f"{PREFIX}{ids.new().replace('-', '')}"
    schema = sql.Identifier(name)
    async with session(pool) as conn:
        await conn.execute("SELECT pg_advisory_lock(hashtext(%s))", (name,))
        await _drop_leftovers(conn)
        try:
            await conn.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
            await conn.execute(
                "SELECT set_config('search_path', %s || ', ' || current_setting('search_path'), "
                "false), set_config('penstock.tenant', %s, false)",
                (name, TENANT),
            )
            for make in TRIAL:
                await make(conn)
            await conn.execute(
                sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, sql.Identifier(READER))
            )
            yield Trial(conn, embedder)
        finally:
            if not conn.closed:
                await conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))


async def _drop_leftovers(conn: Conn) -> None:
    """Drop the tables of trials that were killed: nobody holds their locks."""
    cursor = await conn.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", (f"{PREFIX}%",)
    )
    for (name,) in await cursor.fetchall():
        cursor = await conn.execute("SELECT pg_try_advisory_lock(hashtext(%s))", (name,))
        if await cursor.fetchone() == (True,):
            await conn.execute(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
            )
