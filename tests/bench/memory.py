"""How well recall finds in the bundled set, and what linking a new memory costs among many."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec

from projections import vectors
from projections.registry import MIGRATIONS, VECTOR_MIGRATIONS
from schemas.base import MemoryId
from schemas.cortex import MemoriesAssociated
from services.cortex.associations import A_PASS
from services.cortex.similarity import Similarity
from services.projector.indexing import Indexer
from services.runtime.briefings import subject_of
from services.runtime.cancelling import end
from services.runtime.clock import SystemClock
from services.runtime.database import Pool, connect, migrate, session, using
from services.runtime.embedded.postgres import EmbeddedPostgres
from tests.bench import stand
from tests.bench.figures import Figure
from tests.support.cortex_stand import Stand
from tests.support.crowd import TOPICS, Crowd
from tests.support.fake_embedder import FakeEmbedder
from tests.support.model_folder import FOLDER

SET = stand.ROOT / "tests/data/retrieval/held-out.jsonl"
MANY, FEW = 20_000, 1_000
NEW = A_PASS - 1  # one pass: it ends there
ROUNDS = 3
PAGE = 500
POLL_S = 0.1


async def run() -> list[Figure]:
    """Measure both; recall by meaning only where there is a model."""
    figures = await _retrieval() if FOLDER else []
    async with AsyncExitStack() as stack:
        server = EmbeddedPostgres(stack.enter_context(stand.directory()) / "postgres")
        server.directory.mkdir()
        stack.push_async_callback(server.stop)
        await server.start()
        pool = await connect(server.url)
        stack.push_async_callback(pool.close)
        await migrate(pool, MIGRATIONS)
        await migrate(pool, VECTOR_MIGRATIONS)
        return [*figures, *await _associations(pool)]


async def _retrieval() -> list[Figure]:
    """Ask the command that people measure their own sets with."""
    with stand.directory() as data_dir:
        variables = stand.environment(data_dir) | {"PENSTOCK_EMBEDDINGS_PATH": str(FOLDER)}
        asking = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli", "memory", "eval", str(SET), "--json"),
            env=variables,
            cwd=Path(data_dir),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await asking.communicate()
    ways = msgspec.json.decode(printed)["ways"]
    alone = ("vector", "text")
    note = ", ".join(
        f"{way} alone {ways[way]['recall']:.3f} / {ways[way]['mrr']:.3f}" for way in alone
    )
    return [
        Figure(
            name=f"bundled set, held-out half, hybrid {name}",
            value=ways["hybrid"][key],
            unit="",
            at_least=max(ways[way][key] for way in alone),
            note=note,
        )
        for name, key in (("recall@10", "recall"), ("MRR", "mrr"))
    ]


async def _associations(pool: Pool) -> list[Figure]:
    """Link new memories of an agent that has many, and of one that has few."""
    here, crowd, embedder = Stand(pool), Crowd({}), FakeEmbedder(dimensions=384)
    indexer = Indexer(pool, embedder, SystemClock())
    similarity = Similarity(embedder)
    times: dict[str, list[float]] = {"many": [], "few": []}
    indexing = asyncio.create_task(indexer.run())

    async def remember(tenant: str, count: int) -> tuple[MemoryId, ...]:
        topics = crowd.random.integers(TOPICS, size=count)
        saved = [await here.remember(crowd.sentence(it), tenant=tenant) for it in topics]
        await here.project()
        indexer.on_written(here.log.events[-count:])
        return tuple(saved)

    try:
        for tenant, size in (("many", MANY), ("few", FEW)):
            for _ in range(size // PAGE):
                old = MemoriesAssociated(memory_ids=await remember(tenant, PAGE), links=0)
                await here.add(subject_of(tenant, "atlas", "associations"), old)
        await _until_indexed(pool, embedder.model)
        async with session(pool) as conn:
            await conn.execute("VACUUM (ANALYZE)")
        for _ in range(ROUNDS):
            for tenant, found in times.items():
                await remember(tenant, NEW)
                await _until_indexed(pool, embedder.model)
                started = perf_counter()
                done = await here.replica(similarity=similarity).associations.run_once(0)
                found.append((perf_counter() - started) * 1_000 / NEW)
                assert done == NEW
                await here.project()
    finally:
        await end(indexing)
    many, few = median(times["many"]), median(times["few"])
    return [
        Figure(name=f"link a new memory among {MANY:,}", value=many, unit="ms"),
        Figure(name=f"link a new memory among {FEW:,}", value=few, unit="ms"),
        Figure(
            name=f"the same work, times, among {MANY // FEW} times as many",
            value=many / few,
            unit="",
            at_most=3.0,
            note="a pass grows with what is new, not with what there is",
        ),
    ]


async def _until_indexed(pool: Pool, model: str) -> None:
    while True:
        async with using(pool) as conn:
            if await vectors.model(conn, model) and not await vectors.missing(
                conn, model, after=0, limit=1
            ):
                return
        await asyncio.sleep(POLL_S)
