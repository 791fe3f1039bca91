"""Every memory gets its vector, once, whatever fails, and whichever model is configured."""

from contextlib import suppress

import pytest

from projections import memories
from projections.memories import Meaning
from projections.registry import MIGRATIONS, PROJECTIONS
from schemas.base import BodyRef
from schemas.memory import MemoryForgotten, Replaced
from services.projector import indexing
from services.projector.rebuild import rebuild
from services.projector.source import LogSource
from services.runtime import database
from services.runtime.database import reading, using
from tests.support.fake_embedder import FakeEmbedder
from tests.support.indexing import World
from tests.support.servers import kill, until

pytestmark = pytest.mark.integration


@pytest.fixture
def world(pool):
    return World(pool)


async def test_what_was_just_saved_is_found_by_meaning(world):
    await world.save("the cat sleeps")
    await world.save("a new car was bought")
    async with world.running():
        await world.is_found("where is the kitten", "the cat sleeps")
        await world.save("the doctor called")
        await world.is_found("physician", "the doctor called")
    assert len(world.embedder.embedded) == 3


async def test_what_is_forgotten_or_replaced_has_no_vector_any_more(world):
    old = await world.save("the cat sleeps")
    gone = await world.save("the car is red")
    async with world.running():
        await world.is_found("automobile", "the car is red")
        await world.add(MemoryForgotten(memory_id=gone))
        replaced = (Replaced(memory_id=old, why="correction"),)
        new = await world.save("the cat is awake", replaces=replaced)
        await world.is_found("kitten", "the cat is awake")

        async def only_the_new_one():
            return await world.vectors() == [("fake@1", new)]

        await until(only_the_new_one)


async def test_a_rebuild_of_memories_leaves_vectors_and_embeds_nothing(world):
    for number in range(5):
        await world.save(f"the cat number {number}")
    async with world.running():
        await world.is_found("kitten 3", "the cat number 3")
        before = await world.vectors()
        await rebuild(world.pool, "memories", LogSource(world.log))
        assert await world.vectors() == before
        await world.is_found("kitten 3", "the cat number 3")
        await world.save("a doctor")
        await world.is_found("physician", "a doctor")
    assert len(world.embedder.embedded) == 6


async def test_a_text_that_had_a_vector_is_not_embedded_again(world):
    await world.save("the cat sleeps")
    await world.save("the cat sleeps", tenant="globex")
    async with world.running():
        await world.is_found("kitten", "the cat sleeps")
        await world.is_found("kitten", "the cat sleeps", tenant="globex")
    async with using(world.pool) as conn:
        await conn.execute("TRUNCATE vectors, vector_models, vector_counts")
    async with world.running():
        await world.is_found("kitten", "the cat sleeps")
    assert world.embedder.embedded == ["the cat sleeps"]


async def test_another_model_is_embedded_aside_and_then_used(world):
    await world.save("the cat sleeps")
    async with world.running():
        await world.is_found("kitten", "the cat sleeps")
    other = FakeEmbedder("other@1", dimensions=32)
    async with world.running(other):
        await world.is_found("kitten", "the cat sleeps", embedder=other)
        assert await world.vectors() == [("other@1", "m1")]
        assert await world.found("kitten") == []
    async with world.running():
        await world.is_found("kitten", "the cat sleeps")
    assert world.embedder.embedded == ["the cat sleeps"]


async def test_a_model_that_is_not_complete_is_not_searched_yet(world):
    await world.save("the cat sleeps")
    async with world.running():
        await world.is_found("kitten", "the cat sleeps")
    other = FakeEmbedder("other@1")
    async with using(world.pool) as conn:
        await conn.execute("INSERT INTO vector_models VALUES ('other@1', 64)")
        await conn.execute(
            "INSERT INTO vectors SELECT 'other@1', tenant, item_id, agent, kind, scope, person, "
            "conversation, saved_at, vector FROM vectors"
        )
    assert await world.found("kitten", embedder=other) == []
    assert await world.found("kitten") == ["the cat sleeps"]


async def test_another_length_of_vectors_under_the_same_name_is_explained(world):
    await world.save("the cat sleeps")
    async with world.running():
        await world.is_found("kitten", "the cat sleeps")
    changed = FakeEmbedder(dimensions=32)
    async with world.running(changed):
        await until(world.problems)
        assert "now gives 32 numbers, and 64 before" in (await world.problems())[0]
        assert "embeddings.path" in (await world.problems())[0]
        assert await world.found("kitten", embedder=changed) == []
        assert await world.found("cat", embedder=changed, signals="hybrid") == []
        async with reading(world.pool, "acme") as conn:
            meant = Meaning(changed.model, changed.vector("cat"))
            (hit,) = await memories.recall(conn, "acme", "atlas", "cat", meaning=meant)
        assert hit.text_rank == 1
    async with world.running():

        async def no_problem():
            return not await world.problems()

        await until(no_problem)


async def test_two_indexers_at_once_come_to_the_same(world):
    for number in range(200):
        await world.save(f"the cat number {number}")
    second = FakeEmbedder()
    async with world.running(world.embedder, second):
        await world.is_found("kitten 199", "the cat number 199")

        async def complete():
            return len(await world.vectors()) == 200

        await until(complete)
    assert len(world.embedder.embedded) + len(second.embedded) == 200


async def test_while_there_is_no_embedder_words_find_and_later_meaning_does(world, monkeypatch):
    monkeypatch.setattr(indexing, "PATIENT_S", 0.05)
    monkeypatch.setattr(indexing, "RETRY_S", 0.05)
    world.embedder.away = True
    await world.save("the cat sleeps")
    async with world.running():

        async def found_by_words():
            async with reading(world.pool, "acme") as conn:
                return await memories.recall(conn, "acme", "atlas", "cat")

        await until(found_by_words)
        assert await world.vectors() == []
        world.embedder.away = False
        await world.is_found("kitten", "the cat sleeps")


async def test_a_long_text_that_is_kept_elsewhere_has_no_vector_and_holds_up_nothing(world):
    await world.save(BodyRef(sha256="ab" * 32, bytes=50_000))
    await world.save("the cat sleeps")
    async with world.running():
        await world.is_found("kitten", "the cat sleeps")
    assert await world.vectors() == [("fake@1", "m2")]


async def test_a_database_that_dies_in_the_middle_has_every_vector_in_the_end(own_postgres):
    pool = await database.connect(own_postgres.url)
    try:
        await database.migrate(pool, MIGRATIONS)
        world = World(pool)
        for number in range(300):
            await world.save(f"the cat number {number}")
        async with world.running():

            async def some():
                with suppress(Exception):  # there are no tables yet
                    return await world.vectors()

            await until(some)
            async with using(pool) as conn:
                await conn.execute("CHECKPOINT")  # else its tables may be lost: it does not fsync
            await kill(own_postgres)
            await own_postgres.start()
            await world.is_found("kitten 299", "the cat number 299")

            async def complete():
                with suppress(database.DatabaseUnavailable):
                    return len(await world.vectors()) == 300

            await until(complete, timeout_s=30)
    finally:
        await pool.close()


async def test_a_server_without_pgvector_projects_and_says_what_is_missing(world, monkeypatch):
    async def missing(conn):
        await conn.execute("CREATE EXTENSION no_such_extension")

    monkeypatch.setattr(indexing, "VECTOR_MIGRATIONS", (("vectors", missing),))
    await world.save("the cat sleeps")
    async with world.running():
        await until(world.problems)
        assert "no_such_extension" in (await world.problems())[0]

        async def found():
            return await world.found("cat", signals="hybrid", least=None)

        await until(found)
        assert await found() == ["the cat sleeps"]


def test_vectors_are_no_projection():
    """Else a rebuild would drop them."""
    tables = {table for projection in PROJECTIONS for table in projection.tables}
    assert tables.isdisjoint({"embeddings", "vectors", "vector_models", "vector_counts"})
