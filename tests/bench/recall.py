"""Recall among 100,000 memories of ten tenants, and how soon what was saved is found by meaning."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import fmean
from time import perf_counter

from projections import memories
from projections.memories import Meaning
from projections.registry import MIGRATIONS, VECTOR_MIGRATIONS
from schemas.base import MemoryId
from schemas.memory import MemorySaved
from schemas.subjects import Subject
from services.projector.indexing import Indexer
from services.projector.service import Projector
from services.runtime.cancelling import end
from services.runtime.clock import SystemClock
from services.runtime.config import EmbeddingSettings
from services.runtime.database import Pool, connect, migrate, reading, session
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.embedded.postgres import EmbeddedPostgres
from services.runtime.embedding import Embedder
from services.runtime.fast_embedder import FastEmbedder
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.writer import Writer
from tests.bench import stand
from tests.bench.figures import Figure, percentile
from tests.support.crowd import HOUR, MODEL, TOPICS, Crowd, make, recall_of
from tests.support.fake_embedder import FakeEmbedder
from tests.support.model_folder import FOLDER

SIZES = {"large": 55_000, **{f"small{number}": 5_000 for number in range(9)}}
TOTAL = sum(SIZES.values())
NOW = TOTAL * HOUR // 4
QUERIES = 200
SAVES = 40
AGENT = "atlas"
POLL_S = 0.002


async def run() -> list[Figure]:
    """Fill a database, then ask it."""
    async with AsyncExitStack() as stack:
        data_dir = stack.enter_context(stand.directory())
        server = EmbeddedPostgres(data_dir / "postgres")
        server.directory.mkdir()
        stack.push_async_callback(server.stop)
        await server.start()
        pool = await connect(server.url)
        stack.push_async_callback(pool.close)
        await migrate(pool, MIGRATIONS)
        await migrate(pool, VECTOR_MIGRATIONS)
        crowd = Crowd(SIZES)
        await make(server.url, crowd)
        async with session(pool) as conn:  # as the server itself does a minute after so much came
            await conn.execute("VACUUM (ANALYZE)")
        figures = [
            *await _recall(pool, crowd, "large"),
            *await _recall(pool, crowd, "small3"),
            *await _exactness(pool, crowd),
        ]
    async with AsyncExitStack() as stack:
        return [*figures, *await _save_to_found(stack, stack.enter_context(stand.directory()))]


async def _recall(pool: Pool, crowd: Crowd, tenant: str) -> list[Figure]:
    """Measure hybrid recall, beside a round trip that finds one memory by its key."""
    times, bare = [], []
    for number in range(QUERIES + 10):
        topic = number % TOPICS
        meant = Meaning(MODEL, crowd.near(topic).tolist())
        query = crowd.sentence(topic, 6)
        started = perf_counter()
        async with reading(pool, tenant) as conn:
            hits = await memories.recall(conn, tenant, AGENT, query, meaning=meant, now=NOW)
        times.append((perf_counter() - started) * 1_000)
        started = perf_counter()
        async with reading(pool, tenant) as conn:
            await memories.by_id(conn, tenant, AGENT, hits[0].memory_id)
        bare.append((perf_counter() - started) * 1_000)
    times, bare = times[10:], bare[10:]
    name = f"hybrid recall, {SIZES[tenant]:,} of {TOTAL:,}"
    return [
        Figure(
            name=f"{name}, p{percent}",
            value=percentile(times, percent),
            unit="ms",
            at_most=30.0 if percent == 95 else None,
            bare=percentile(bare, percent),
        )
        for percent in (50, 95)
    ]


async def _exactness(pool: Pool, crowd: Crowd) -> list[Figure]:
    """Compare what the index finds with a scan of everything."""
    figures = []
    for tenant, kind in (("large", None), ("large", "todo"), ("small3", None)):
        shares = []
        for topic in range(0, TOPICS, 5):
            vector = crowd.near(topic)
            meant = Meaning(MODEL, vector.tolist())
            async with reading(pool, tenant) as conn:
                hits = await memories.recall(
                    conn, tenant, AGENT, "", meaning=meant, kind=kind, signals="vector"
                )
            exact = crowd.nearest(tenant, vector, kind=kind)
            shares.append(recall_of([hit.memory_id for hit in hits], exact))
        name = f"recall@10 of an exact scan, {tenant}{', one kind' if kind else ''}"
        figures.append(Figure(name=name, value=fmean(shares), unit="", at_least=0.95))
    return figures


async def _save_to_found(stack: AsyncExitStack, data_dir: Path) -> list[Figure]:
    """Append memories one by one; measure until each is found by meaning."""
    nats, postgres = EmbeddedNats(data_dir / "nats"), EmbeddedPostgres(data_dir / "postgres")
    for server in (nats, postgres):
        server.directory.mkdir()
        stack.push_async_callback(server.stop)
        await server.start()
    connection = await Connection.open(nats.url, name="bench")
    stack.push_async_callback(connection.close)
    event_log = JetStreamLog(connection)
    await event_log.create()
    pool = await connect(postgres.url)
    stack.push_async_callback(pool.close)
    clock = SystemClock()
    embedder: Embedder = FakeEmbedder()
    if FOLDER is not None:
        embedder = FastEmbedder(EmbeddingSettings(path=FOLDER), data_dir / "models", clock)
    await migrate(pool, MIGRATIONS)
    indexer = Indexer(pool, embedder, clock)
    projector = Projector(event_log, pool, indexer=indexer, clock=clock)
    tasks = [asyncio.create_task(each.run()) for each in (projector, indexer)]
    try:
        times = []
        writer = Writer(event_log, clock, "bench")
        for number in range(SAVES + 5):
            text = f"the server number {number} was moved to another room"
            (vector,) = await embedder.embed([text])
            saved = MemorySaved(
                memory_id=MemoryId(f"m{number}"), kind="fact", text=text, importance=0.5
            )
            started = perf_counter()
            await event_log.append(str(Subject("t", AGENT, entity="memory")), writer.seal(saved))
            await _until_found(pool, Meaning(embedder.model, vector), saved.memory_id)
            times.append((perf_counter() - started) * 1_000)
    finally:
        await end(*tasks)
    note = "" if FOLDER else "with a model that does nothing"
    return [
        Figure(
            name="saved to found by meaning, p50",
            value=percentile(times[5:], 50),
            unit="ms",
            at_most=200.0,
            note=note,
        )
    ]


async def _until_found(pool: Pool, meant: Meaning, memory_id: str) -> None:
    async with asyncio.timeout(30):
        while True:
            async with reading(pool, "t") as conn:
                hits = await memories.recall(
                    conn, "t", AGENT, "", meaning=meant, signals="vector", limit=3
                )
            if memory_id in {hit.memory_id for hit in hits}:
                return
            await asyncio.sleep(POLL_S)
