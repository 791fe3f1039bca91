"""Take in a library, from files on the disk until all of it is found by words, and by meaning."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from pydoc_data.topics import topics
from random import Random
from statistics import median
from time import perf_counter, process_time

from projections.parts import parts
from projections.registry import MIGRATIONS, VECTOR_MIGRATIONS
from services.ingest.chunking import Text, passages
from services.ingest.reader import Reader
from services.ingest.service import Ingestion
from services.projector.indexing import Indexer
from services.projector.service import Projector
from services.runtime.agents import Agent, Agents, define
from services.runtime.cancelling import end
from services.runtime.clock import SystemClock
from services.runtime.config import EmbeddingSettings
from services.runtime.database import Pool, connect, migrate, session, using
from services.runtime.documents import DocumentLog, Documents
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.embedded.postgres import EmbeddedPostgres
from services.runtime.embedding import Embedder
from services.runtime.fast_embedder import FastEmbedder
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.writer import Writer
from tests.bench import stand
from tests.bench.figures import Figure
from tests.support.fake_embedder import FakeEmbedder
from tests.support.model_folder import FOLDER

FILES = 30
PARAGRAPHS = 600  # of a file, four sentences each, about 400 characters
ROUNDS = 3
BARE_SIZE = 1_200  # characters of a passage of the bare loop
AT_ONCE = 4  # files handed in ahead of the one that is read, as the command line does
PATIENCE_S = 300
POLL_S = 0.1  # it counts rows, which takes time from what is measured
TABLE = """
DROP TABLE IF EXISTS bare;
CREATE TABLE bare (
    document text NOT NULL, sha256 text NOT NULL, text text NOT NULL,
    words tsvector GENERATED ALWAYS AS (to_tsvector('english', text)) STORED,
    PRIMARY KEY (document, sha256)
);
CREATE INDEX ON bare USING gin (words);
"""
INDEXED = """
SELECT (SELECT count(*) FROM passage_vectors WHERE part = 0) = (SELECT count(*) FROM passages)
"""
SIZE = """
SELECT (SELECT count(*) FROM embeddings), (SELECT sum(length(text)) FROM passages)
"""
PAGE = 150  # parts at once, as the indexer embeds them
WORDS = [
    "the",
    "log",
    "tells",
    "what",
    "happened",
    "when",
    "a",
    "document",
    "was",
    "read",
    "and",
    "stored",
    "by",
    "nobody",
    "else",
    "than",
    "the",
    "projector",
    "which",
    "follows",
    "every",
    "stream",
    "of",
    "facts",
    "in",
    "order",
    "and",
    "forgets",
    "none",
    "of",
    "them",
    "however",
    "often",
    "somebody",
    "kills",
    "the",
    "process",
    "that",
    "was",
    "about",
    "to",
    "write",
    "rows",
    "into",
    "a",
    "table",
    "of",
    "passages",
]


async def run() -> list[Figure]:
    """Measure what there is without a model, with one that does nothing, and with a real one.

    Without a model a chunk is a passage, which words find; with one a part of a passage, which has
    a vector of its own: a sentence or some short ones (docs/recall.md).
    """
    figures = [*await _by_words(), await _without_a_model()]
    if FOLDER:
        cores = os.cpu_count() or 1
        for threads in sorted({max(1, cores // 2), cores}):
            figures += await _with_a_model(FOLDER, threads)
    return figures


async def _by_words() -> list[Figure]:
    """Measure the bare loop and ingestion in turn, each round with texts that are new."""
    bare, found, again = [], [], []
    async with _library() as (data_dir, library):
        for number in range(ROUNDS):
            folder = data_dir / f"files-{number}"
            write_files(folder, number)
            bare.append(await read_and_copy(library.pool, folder))
            found.append(await library.take_in(folder))
            again.append(await library.take_in_again(folder))
    rate, without = median(found), median(bare)
    return [
        Figure(
            name="ingestion, without embeddings",
            value=rate,
            unit="chunks/s",
            at_least=300.0,
            bare=without,
            note="fsync on",
        ),
        Figure(name="the same files again", value=median(again), unit="files/s"),
    ]


async def _without_a_model() -> Figure:
    """Measure what there is around a model."""
    async with _library(FakeEmbedder(dimensions=384)) as (data_dir, library):
        write_files(data_dir / "files", 0, files=5)
        seconds = await library.seconds(data_dir / "files")
        chunks, _ = await library.size()
    return Figure(
        name="ingestion, with a model that does nothing",
        value=chunks / seconds,
        unit="chunks/s",
        at_least=1_000.0,
        note="as long as there is no index of vectors yet",
    )


async def _with_a_model(folder: Path, threads: int) -> list[Figure]:
    """Measure a real model alone, on the parts of real texts, and ingestion of those with it."""
    async with AsyncExitStack() as stack:
        models = stack.enter_context(stand.directory()) / "models"
        settings = EmbeddingSettings(path=folder, threads=threads)
        embedder = FastEmbedder(settings, models, SystemClock())
        data_dir, library = await stack.enter_async_context(_library(embedder))
        write_topics(data_dir / "files")
        texts = list({text: None for some in divided(data_dir / "files") for text in some})
        await embedder.embed(texts[:1])  # loads it
        bare, bare_cpu_s = await timed(bare_model(embedder, texts))
        taken, cpu_s = await timed(library.seconds(data_dir / "files"))
        chunks, characters = await library.size()
    with_ = f"{threads} of {os.cpu_count()} cores for the model"
    return [
        Figure(
            name=f"ingestion with embeddings, {with_}",
            value=chunks / taken,
            unit="chunks/s",
            at_least=300.0 if threads == os.cpu_count() else None,  # the default: all of them
            bare=chunks / bare,
            note=f"bare: the model alone; {characters / chunks:.0f} characters a chunk",
        ),
        Figure(name=f"the same, {with_}", value=characters / taken, unit="characters/s"),
        Figure(
            name="time of processors for it, without those of the servers",
            value=cpu_s / chunks * 1_000,
            unit="ms/chunk",
            bare=bare_cpu_s / chunks * 1_000,
            note="what other processes do meanwhile changes it less",
        ),
    ]


async def timed(measured: Awaitable[float]) -> tuple[float, float]:
    """Return the seconds that something says it took, and those of processors in this process."""
    started = process_time()
    return await measured, process_time() - started


async def bare_model(embedder: Embedder, texts: Sequence[str]) -> float:
    """Return in how many seconds the model turns texts into vectors."""
    started = perf_counter()
    for start in range(0, len(texts), PAGE):
        await embedder.embed(texts[start : start + PAGE])
    return perf_counter() - started


def divided(folder: Path) -> Iterator[list[str]]:
    """Yield the parts of each passage."""
    for _, content in contents(folder):
        for passage in passages(Text(content.decode())):
            yield parts(passage.text)


@asynccontextmanager
async def _library(embedder: Embedder | None = None) -> AsyncIterator[tuple[Path, "Library"]]:
    """Lend a library on servers of its own."""
    async with AsyncExitStack() as stack:
        data_dir = stack.enter_context(stand.directory())
        nats, postgres = EmbeddedNats(data_dir / "nats"), EmbeddedPostgres(data_dir / "postgres")
        for server in (nats, postgres):
            server.directory.mkdir()
            stack.push_async_callback(server.stop)
            await server.start()
        connection = await Connection.open(nats.url, name="bench")
        stack.push_async_callback(connection.close)
        pool = await connect(postgres.url)
        stack.push_async_callback(pool.close)
        await migrate(pool, MIGRATIONS)
        await migrate(pool, VECTOR_MIGRATIONS)
        library = Library(connection, pool, embedder)
        await library.prepare()
        stack.push_async_callback(library.close)
        yield data_dir, library


def write_files(folder: Path, seed: int, *, files: int = FILES) -> None:
    """Write a library of texts, none like another."""
    random = Random(seed)  # noqa: S311 - repeatable, not secret
    folder.mkdir()

    def sentence() -> str:
        return " ".join(random.choices(WORDS, k=random.randint(10, 25))).capitalize()

    for file in range(files):
        paragraphs = (
            f"{file}.{number} " + " ".join(f"{sentence()}." for _ in range(4))
            for number in range(PARAGRAPHS)
        )
        (folder / f"{seed}-{file}.md").write_text("\n\n".join(paragraphs))


def write_topics(folder: Path) -> None:
    """Write the language reference that comes with Python, without what stands in it twice."""
    folder.mkdir()
    seen: set[str] = set()
    for number, text in enumerate(topics.values()):
        new = [each for each in dict.fromkeys(text.split("\n\n")) if each not in seen]
        seen.update(new)
        if len(new) > 2:
            (folder / f"{number}.md").write_text("\n\n".join(new))


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file, read when it is its turn."""
    for path in sorted(folder.iterdir()):
        yield path.name, path.read_bytes()


async def read_and_copy(pool: Pool, folder: Path) -> float:
    """Return how many pieces a second go from files into a table: read, cut, hashed, copied."""
    started = perf_counter()
    count = 0
    async with session(pool) as conn:
        await conn.execute(TABLE)
        started = perf_counter()
        for name, content in contents(folder):
            text = content.decode()
            async with (
                conn.transaction(),
                conn.cursor() as cursor,
                cursor.copy("COPY bare (document, sha256, text) FROM STDIN") as copy,
            ):
                for start in range(0, len(text), BARE_SIZE):
                    piece = text[start : start + BARE_SIZE]
                    digest = sha256(piece.encode()).hexdigest()
                    await copy.write_row((name, digest, piece))
                    count += 1
    return count / (perf_counter() - started)


class Library:
    """The services that take documents in, read them, and make rows of them."""

    def __init__(
        self, connection: Connection, pool: Pool, embedder: Embedder | None = None
    ) -> None:
        self.pool = pool
        self._indexer = Indexer(pool, embedder, SystemClock()) if embedder else None
        self._log = JetStreamLog(connection)
        self._bodies = JetStreamBodies(connection)
        writer = Writer(self._log, SystemClock(), "bench")
        known = DocumentLog(self._log)
        self._writer = writer
        self._documents = Documents(writer, self._bodies, Agents(self._log), known, 10**8)
        reader = Reader(read_s=60.0, memory_bytes=1 << 31)
        self._ingestion = Ingestion(writer, self._bodies, known, reader)
        self._tasks: list[asyncio.Task[None]] = []
        self._known = 0
        """Documents that were ever handed in."""

    async def prepare(self) -> None:
        """Start the services."""
        await self._log.create()
        await self._bodies.create()
        await define(self._writer, Agent("bench", "main", "Main"))
        self._tasks = [
            asyncio.create_task(self._ingestion.run(asyncio.Event())),
            asyncio.create_task(Projector(self._log, self.pool, indexer=self._indexer).run()),
        ]
        if self._indexer:
            self._tasks.append(asyncio.create_task(self._indexer.run()))

    async def close(self) -> None:
        """End them."""
        await end(*self._tasks)

    async def take_in(self, folder: Path) -> float:
        """Return how many passages a second can be found that could not before."""
        before = await self._count()
        seconds = await self.seconds(folder)
        return (await self._count() - before) / seconds

    async def seconds(self, folder: Path) -> float:
        """Return how long it takes until everything in a folder is found."""
        self._known += sum(1 for _ in contents(folder))
        started = perf_counter()
        await self._hand_in(folder)
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_found():  # noqa: ASYNC110 - asked of a server
                await asyncio.sleep(POLL_S)
        return perf_counter() - started

    async def size(self) -> tuple[int, int]:
        """Return how many different parts have vectors, and how many characters passages have."""
        async with using(self.pool) as conn:
            cursor = await conn.execute(SIZE)
            parts_, characters = await cursor.fetchone() or (0, 0)
        return int(parts_), int(characters)

    async def take_in_again(self, folder: Path) -> float:
        """Return how many known files a second are found to be known."""
        started = perf_counter()
        await self._hand_in(folder)
        return FILES / (perf_counter() - started)

    async def _hand_in(self, folder: Path) -> None:
        room = asyncio.Semaphore(AT_ONCE)
        take = partial(self._documents.take, "bench", "main", media_type="text/markdown", by="x")

        async def hand_in(name: str, content: bytes) -> None:
            async with room:
                await take(name, content)

        await asyncio.gather(*(hand_in(name, content) for name, content in contents(folder)))

    async def _count(self) -> int:
        async with using(self.pool) as conn:
            cursor = await conn.execute("SELECT count(*) FROM passages")
            (count,) = await cursor.fetchone() or (0,)
            return int(count)

    async def _is_found(self) -> bool:
        """Tell whether the rows say that everything is done."""
        query = "SELECT count(*) FROM documents WHERE state = 'ingested'"
        async with using(self.pool) as conn:
            if await (await conn.execute(query)).fetchone() != (self._known,):
                return False
            return self._indexer is None or await (await conn.execute(INDEXED)).fetchone() == (
                True,
            )
