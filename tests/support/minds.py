"""Memories with vectors, saved and recalled through the real tables."""

from projections import memories, passage_vectors, passages, vectors
from projections.memories import Meaning
from projections.registry import BY_NAME
from schemas.base import EventId, MemoryId
from schemas.envelope import encode, seal
from schemas.memory import MemorySaved
from schemas.subjects import Subject
from services.runtime.database import reading, using
from services.runtime.recording import record
from tests.support.documents import ingested
from tests.support.fake_embedder import FakeEmbedder

MINUTE = 60_000_000
DAY = 24 * 60 * MINUTE
NOW = 3_000 * DAY


class Minds:
    """Saves memories with their vectors, and recalls them."""

    def __init__(self, pool) -> None:
        self.pool = pool
        self.embedder = FakeEmbedder(dimensions=256)
        self.seq = 0

    async def save(self, text, *, tenant="acme", agent="atlas", at=NOW, **fields) -> MemoryId:
        memory_id = MemoryId(f"m{self.seq + 1}")
        fields = {"kind": "fact", "importance": 0.5, **fields}
        saved = MemorySaved(memory_id=memory_id, text=text, **fields)
        await self.add(saved, tenant=tenant, agent=agent, at=at)
        return memory_id

    async def add(self, event, *, tenant="acme", agent="atlas", at=NOW) -> None:
        self.seq += 1
        sealed = seal(event, id=EventId(f"e{self.seq}"), at=at, actor="test")
        subject = str(Subject(tenant, agent, entity="memory"))
        name = self.embedder.model
        async with using(self.pool) as conn:
            await BY_NAME["memories"].apply(conn, [record(self.seq, subject, encode(sealed))])
            missing = await vectors.missing(conn, name, after=0, limit=100)
            made = await self.embedder.embed([each.text for each in missing])
            keys = [each.sha256 for each in missing]
            await vectors.add_model(conn, name, self.embedder.dimensions)
            await vectors.cache(conn, name, dict(zip(keys, made, strict=True)))
            await vectors.add(conn, name, missing)
            await vectors.switch(conn, name)

    async def ingest(self, *texts, tenant="acme", agent="atlas", id_="d-1") -> None:
        """Take in a document, with the vectors of its passages."""
        await self.tell(*ingested(*texts, id_=id_), tenant=tenant, agent=agent)

    async def tell(self, *events, tenant="acme", agent="atlas") -> None:
        """Tell what happened to a document."""
        told = []
        for event in events:
            self.seq += 1
            sealed = seal(event, id=EventId(f"e{self.seq}"), at=NOW, actor="test")
            subject = str(Subject(tenant, agent, entity="ingest", id=event.document_id))
            told.append(record(self.seq, subject, encode(sealed)))
        name = self.embedder.model
        async with using(self.pool) as conn:
            await BY_NAME["passages"].apply(conn, told)
            await vectors.add_model(conn, name, self.embedder.dimensions)
            while page := await passage_vectors.missing(conn, name, after=0, limit=1_000):
                parts = list(passage_vectors.divided(page))
                made = await self.embedder.embed([each.text for each in parts])
                keys = [each.sha256 for each in parts]
                await vectors.cache(conn, name, dict(zip(keys, made, strict=True)))
                await passage_vectors.add(conn, name, parts)
            await vectors.switch(conn, name)

    async def passages(self, query, *, tenant="acme", agent="atlas", **how):
        meant = Meaning(self.embedder.model, self.embedder.vector(query))
        async with reading(self.pool, tenant) as conn:
            how = {"meaning": meant, **how}
            return await passages.search(conn, tenant, agent, query, **how)

    async def hits(self, query, *, tenant="acme", agent="atlas", **how):
        meant = Meaning(self.embedder.model, self.embedder.vector(query))
        async with reading(self.pool, tenant) as conn:
            how = {"meaning": meant, "now": NOW, **how}
            return await memories.recall(conn, tenant, agent, query, **how)

    async def texts(self, query, **how):
        return [hit.text for hit in await self.hits(query, **how)]
