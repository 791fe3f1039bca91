"""Every passage gets its vector, once, whatever fails, and memories do not wait for them."""

import asyncio
from contextlib import suppress

import pytest

from projections import vectors
from projections.registry import MIGRATIONS, VECTOR_MIGRATIONS
from schemas.base import DocumentId, EventId
from schemas.ingest import ChunksRemoved, DocumentForgotten
from services.projector.rebuild import rebuild
from services.projector.source import LogSource
from services.runtime import database
from services.runtime.clock import SystemClock
from services.runtime.config import EmbeddingSettings
from services.runtime.database import using
from services.runtime.fast_embedder import FastEmbedder
from tests.support.documents import sha_of
from tests.support.fake_embedder import FakeEmbedder
from tests.support.indexing import World
from tests.support.model_folder import FOLDER, needs_model
from tests.support.servers import kill, until

pytestmark = pytest.mark.integration

MANY = [f"the cat number {number}" for number in range(300)]


@pytest.fixture
async def world(pool):
    await database.migrate(pool, VECTOR_MIGRATIONS)
    return World(pool)


class Gated(FakeEmbedder):
    """Waits, when it has passages to embed, until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.waiting = asyncio.Event()

    async def embed(self, texts):
        if len(texts) > 1 and self.embedded:
            self.waiting.set()
            await self.open.wait()
        return await super().embed(texts)


async def complete(world, number):
    async def all_of_them():
        with suppress(database.DatabaseUnavailable):
            return len(await world.of_passages()) == number

    await until(all_of_them, timeout_s=30)


async def test_what_was_just_stored_is_found_by_meaning_where_it_belongs(world):
    await world.ingest("the cat sleeps")
    await world.ingest("the cat of globex", tenant="globex")
    async with world.running():
        await world.is_read("where is the kitten", "the cat sleeps")
        await world.is_read("kitten of", "the cat of globex", tenant="globex")
        await world.ingest("the doctor called", id_="d-2")
        await world.is_read("physician", "the doctor called")
        assert await world.read("physician", tenant="globex") == []
        assert await world.read("physician", agent="other") == []


async def test_removed_passages_and_forgotten_documents_lose_their_vectors(world):
    await world.ingest("the cat sleeps", "the car is red")
    await world.ingest("the car is red", "the doctor called", id_="d-2")
    async with world.running():
        await complete(world, 3)
        both = (sha_of("the cat sleeps"), sha_of("the car is red"))
        mine = {"document_id": DocumentId("d-1"), "received": EventId("r")}
        await world.add(ChunksRemoved(**mine, chunks=both))
        await complete(world, 2)
        await world.is_read("automobile", "the car is red")
        await world.add(DocumentForgotten(document_id=DocumentId("d-2")))
        await complete(world, 0)
    assert len(world.embedder.embedded) == 3 + 1  # and the question


async def test_a_text_that_had_a_vector_is_not_embedded_again(world):
    """Be it another document's, another agent's, or a memory's."""
    await world.save("the cat sleeps")
    await world.ingest("the cat sleeps")
    await world.ingest("the cat sleeps", agent="other")
    await world.ingest("the cat sleeps", tenant="globex")
    async with world.running():
        await complete(world, 3)
        await world.add(DocumentForgotten(document_id=DocumentId("d-1")))
        await complete(world, 2)
        await world.ingest("the cat sleeps", id_="renamed")
        await complete(world, 3)
    assert world.embedder.embedded == ["the cat sleeps"]


async def test_a_passage_that_says_nothing_has_a_vector_too(world):
    """None of ours says nothing, but an import may bring one, and it is missing until it has."""
    await world.ingest(*MANY[:3])
    await world.ingest("\x1c", " ", id_="d-2")
    async with world.running():
        await complete(world, 5)


async def test_a_text_whose_vector_is_on_its_way_is_not_embedded_again(world):
    await world.ingest(*MANY[:16])
    await world.ingest(*MANY[:16], id_="d-2")
    await world.ingest(*MANY[:16], agent="other")
    async with world.running():
        await complete(world, 32)
    assert sorted(world.embedder.embedded) == sorted(MANY[:16])


async def test_the_next_vectors_are_made_while_the_last_ones_are_kept(world):
    world.embedder = Gated()
    world.embedder.embedded = ["as if it had been asked before"]
    await world.ingest(*MANY[:48])
    async with world.running():
        await asyncio.wait_for(world.embedder.waiting.wait(), 30)
        async with using(world.pool) as conn:
            await conn.execute("LOCK TABLE passage_vectors IN SHARE MODE")  # so none can be kept
            world.embedder.open.set()

            async def two_pages():
                return len(world.embedder.embedded) == 1 + 32

            await until(two_pages)
            assert await world.of_passages() == []
        await complete(world, 48)


async def test_a_rebuild_of_passages_leaves_vectors_and_embeds_nothing(world):
    await world.ingest(*MANY[:200])
    async with world.running():
        await complete(world, 200)
        before = await world.of_passages()
        await rebuild(world.pool, "passages", LogSource(world.log))
        assert await world.of_passages() == before
        await world.ingest("the doctor called", id_="d-2")
        await complete(world, 201)
        await world.is_read("kitten number 3", "the cat number 3")
    embedded = [each for each in world.embedder.embedded if each != "kitten number 3"]
    assert sorted(embedded) == sorted([*MANY[:200], "the doctor called"])


async def test_vectors_of_whole_passages_make_room_for_those_of_parts(pool):
    """A database of a version that knew no parts: what it has is made anew, in the background."""
    await database.migrate(pool, [each for each in VECTOR_MIGRATIONS if each[0] != "passage parts"])
    world = World(pool)
    async with using(pool) as conn:
        await vectors.add_model(conn, "fake@1", 64)
        await conn.execute("UPDATE vector_models SET ready_at = now(), passages_hnsw = true")
        await conn.execute(
            "INSERT INTO passage_vectors VALUES ('fake@1', 'acme', 'atlas', %s, %s)",
            (sha_of("the cat sleeps"), vectors.encode(world.embedder.vector("the cat sleeps"))),
        )
        await conn.execute(
            "INSERT INTO vector_counts VALUES ('fake@1', 'acme', 'atlas', 'agent', 'passage', 1)"
        )
    await world.ingest("the cat sleeps")
    async with world.running():
        await world.is_read("kitten", "the cat sleeps")
    async with using(pool) as conn:
        cursor = await conn.execute(
            "SELECT part, number, passages_hnsw "
            "FROM passage_vectors, vector_counts, vector_models WHERE kind = 'passage'"
        )
        assert await cursor.fetchall() == [(0, 1, False)]


async def test_a_memory_does_not_wait_for_the_passages_of_a_library(world):
    """Nor, with the first model there is, for all of them to have vectors."""
    world.embedder = Gated()
    await world.save("the car is red")
    await world.ingest(*MANY)
    async with world.running():
        await asyncio.wait_for(world.embedder.waiting.wait(), 30)
        await world.is_found("automobile", "the car is red")
        await world.save("the doctor called")

        async def projected():
            async with using(world.pool) as conn:
                cursor = await conn.execute("SELECT count(*) FROM memories")
                return await cursor.fetchone() == (2,)

        await until(projected)
        assert await world.of_passages() == []
        world.embedder.open.set()
        await world.is_found("physician", "the doctor called")
        await complete(world, 300)
    embedded = world.embedder.embedded
    assert embedded.index("the doctor called") < embedded.index(MANY[-1])


async def test_another_model_is_not_searched_before_every_passage_has_a_vector_of_it(world):
    await world.save("the car is red")
    await world.ingest(*MANY[:100])
    async with world.running():
        await complete(world, 100)
    other = Gated()
    other.model = "other@1"
    async with world.running(other):
        await asyncio.wait_for(other.waiting.wait(), 30)
        assert ("other@1", "m1") in await world.vectors()
        assert await world.found("automobile", embedder=other) == []
        await world.is_found("automobile", "the car is red")
        await world.is_read("kitten number 7", "the cat number 7")
        other.open.set()
        await world.is_found("automobile", "the car is red", embedder=other)
    assert {model for model, *_ in await world.of_passages()} == {"other@1"}
    assert len(await world.of_passages()) == 100


async def test_two_indexers_at_once_come_to_the_same(world):
    await world.ingest(*MANY)
    second = FakeEmbedder()
    async with world.running(world.embedder, second):
        await complete(world, 300)
    assert len(world.embedder.embedded) + len(second.embedded) == 300


async def test_a_database_that_dies_in_the_middle_has_every_vector_in_the_end(own_postgres):
    pool = await database.connect(own_postgres.url)
    try:
        await database.migrate(pool, MIGRATIONS)
        world = World(pool)
        world.embedder = Gated()
        await world.save("the car is red")
        await world.ingest(*MANY)
        async with world.running():
            await asyncio.wait_for(world.embedder.waiting.wait(), 30)
            async with using(pool) as conn:
                await conn.execute("CHECKPOINT")  # else its tables may be lost: it does not fsync
            await kill(own_postgres)
            await own_postgres.start()
            world.embedder.open.set()
            await world.is_read("kitten number 299", "the cat number 299")
            await complete(world, 300)
        async with using(pool) as conn:
            cursor = await conn.execute(
                "SELECT count(*), (SELECT number FROM vector_counts WHERE kind = 'passage') "
                "FROM embeddings"
            )
            assert await cursor.fetchone() == (301, 300)
    finally:
        await pool.close()


@needs_model
async def test_a_real_model_finds_what_shares_no_word_with_the_question(world, tmp_path):
    world.embedder = FastEmbedder(EmbeddingSettings(path=FOLDER), tmp_path, SystemClock())
    holidays = "Holidays are asked for a month ahead, with the form on the intranet."
    await world.ingest(
        holidays,
        "The staging server is called heron; it is rebuilt every night.",
        "Releases go out on Friday, unless somebody objects.",
    )
    await world.ingest("Vacation is not for us.", tenant="globex")
    async with world.running():
        question = "how early must I request vacation?"
        await world.is_read(question, holidays)
        found = await world.read(question)
        assert found[0].text == holidays
        assert found[0].text_rank is None
        assert await world.read(question, agent="other") == []
        assert await world.read("a recipe for pancakes") == []
