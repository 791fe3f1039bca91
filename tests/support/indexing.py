"""A log and a database, and the loops between them that make things be found by meaning."""

import asyncio
from contextlib import asynccontextmanager, suppress

from projections import memories, passages, positions
from projections.memories import Meaning
from schemas.base import EventId, MemoryId
from schemas.envelope import encode, seal
from schemas.ingest import IngestEvent
from schemas.memory import MemorySaved
from schemas.subjects import Subject
from services.projector.indexing import Indexer
from services.projector.service import Projector
from services.runtime import database
from services.runtime.clock import SystemClock
from services.runtime.database import reading, using
from services.runtime.recording import record
from tests.support.documents import ingested
from tests.support.fake_embedder import FakeEmbedder
from tests.support.read_models import StoredLog
from tests.support.servers import until


class World:
    """A log, a database, and the loops between them."""

    def __init__(self, pool) -> None:
        self.pool = pool
        self.log = StoredLog()
        self.embedder = FakeEmbedder()

    async def save(self, text, *, tenant="acme", **fields) -> MemoryId:
        memory_id = MemoryId(f"m{len(self.log.events) + 1}")
        fields = {"kind": "fact", "importance": 0.5, **fields}
        await self.add(MemorySaved(memory_id=memory_id, text=text, **fields), tenant=tenant)
        return memory_id

    async def ingest(self, *texts, id_="d-1", **where) -> None:
        await self.add(*ingested(*texts, id_=id_), **where)

    async def add(self, *events, tenant="acme", agent="atlas") -> None:
        for event in events:
            seq = len(self.log.events) + 1
            sealed = seal(event, id=EventId(f"e{seq}"), at=seq, actor="test")
            subject = Subject(tenant, agent, entity="memory")
            if isinstance(event, IngestEvent):
                subject = Subject(tenant, agent, entity="ingest", id=event.document_id)
            await self.log.add(record(seq, str(subject), encode(sealed)))

    @asynccontextmanager
    async def running(self, *embedders):
        """Run a projector, and an indexer for each embedder."""
        indexers = [
            Indexer(self.pool, each, SystemClock()) for each in embedders or [self.embedder]
        ]
        projector = Projector(self.log, self.pool, indexer=indexers[0])
        tasks = [asyncio.create_task(each.run()) for each in (projector, *indexers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def found(self, query, *, embedder=None, tenant="acme", least=0.1, **how):
        """Return what is found by meaning alone."""
        embedder = embedder or self.embedder
        meant = Meaning(embedder.model, embedder.vector(query))
        async with reading(self.pool, tenant) as conn:
            how = {"signals": "vector", "limit": 3, **how}
            hits = await memories.recall(conn, tenant, "atlas", query, meaning=meant, **how)
        return [hit.text for hit in hits if least is None or (hit.vector_score or 0) > least]

    async def read(self, query, *, tenant="acme", agent="atlas", embedder=None):
        """Return what is found in documents, by words or by meaning."""
        embedder = embedder or self.embedder
        (vector,) = await embedder.embed([query])
        meant = Meaning(embedder.model, vector)
        async with reading(self.pool, tenant) as conn:
            return await passages.search(conn, tenant, agent, query, meaning=meant)

    async def is_read(self, query, text, **where):
        """Wait until a text is found by meaning."""

        async def found():
            with suppress(database.DatabaseUnavailable):
                hits = await self.read(query, **where)
                return text in [hit.text for hit in hits if hit.vector_rank]

        await until(found, timeout_s=30)

    async def is_found(self, query, text, **how):
        async def found():
            with suppress(database.DatabaseUnavailable):
                return text in await self.found(query, **how)

        await until(found, timeout_s=30)

    async def vectors(self):
        async with using(self.pool) as conn:
            cursor = await conn.execute("SELECT model, item_id FROM vectors ORDER BY 1, 2")
            return await cursor.fetchall()

    async def of_passages(self):
        """Return of what passages there are vectors."""
        async with using(self.pool) as conn:
            cursor = await conn.execute(
                "SELECT DISTINCT model, tenant, agent, sha256 FROM passage_vectors "
                "ORDER BY 1, 2, 3, 4"
            )
            return await cursor.fetchall()

    async def problems(self):
        async with using(self.pool) as conn:
            return [
                each.detail for each in await positions.problems(conn) if each.name == "vectors"
            ]
