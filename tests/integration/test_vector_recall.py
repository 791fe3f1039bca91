"""Recall by words, meaning and links at once: what is found, why, and by whom it may be."""

import psycopg
import pytest
from psycopg import errors

from projections import memories, vectors
from projections.memories import SEARCH, Meaning
from projections.registry import VECTOR_MIGRATIONS
from schemas.base import MemoryId
from schemas.memory import MemoryForgotten, MemoryLinked, Replaced
from services.runtime import database
from services.runtime.database import reading, session, using
from tests.support.crowd import MODEL, TOPICS, Crowd, recall_of
from tests.support.minds import DAY, MINUTE, NOW, Minds

pytestmark = pytest.mark.integration

SEARCH_GLOBEX = """
SELECT * FROM memory_search(
    'globex', 'atlas', 'cat', '{}', NULL, NULL, NULL, NULL, '{}', NULL, true, NULL, NULL, NULL,
    NULL, 0, 'hybrid', 'score', 10)
"""


@pytest.fixture
async def minds(pool):
    await database.migrate(pool, VECTOR_MIGRATIONS)
    return Minds(pool)


async def test_what_shares_no_word_is_found_by_meaning_and_says_so(minds):
    await minds.save("the cat sleeps")
    await minds.save("interest rates rose")
    hit = (await minds.hits("kitten"))[0]
    assert (hit.text, hit.text_rank, hit.vector_rank) == ("the cat sleeps", None, 1)
    assert hit.vector_score == pytest.approx(3**-0.5, abs=0.01)


async def test_a_hit_tells_its_rank_and_score_by_every_signal(minds):
    await minds.save("the cat sleeps on the car")
    await minds.save("the cat is hungry")
    first, second = await minds.hits("cat car")
    assert (first.text_rank, first.vector_rank) == (1, 1)
    assert (second.text_rank, second.vector_rank) == (2, 2)
    assert first.text_score > second.text_score > 0
    assert first.vector_score > second.vector_score
    assert first.score > second.score
    assert first.linked_to is None


async def test_words_alone_and_meaning_alone_can_be_asked_for(minds):
    await minds.save("the kitten sleeps")
    await minds.save("the cat eats")
    assert await minds.texts("kitten", signals="text") == ["the kitten sleeps"]
    assert len(await minds.texts("kitten", signals="vector")) == 2
    assert await minds.texts("kitten", meaning=None) == ["the kitten sleeps"]


async def test_ranks_can_be_fused_instead_of_scores(minds):
    await minds.save("the cat sleeps on the car")
    await minds.save("the cat is hungry")
    first, second = await minds.hits("cat car", fusion="rrf")
    assert first.score == pytest.approx(2 / 61, rel=0.02)
    assert second.score == pytest.approx(2 / 62, rel=0.02)


async def test_what_was_said_beside_a_hit_is_found_through_it(minds):
    """Up to two away, in the same conversation, within the hour."""
    said = {"conversation": "portal/general"}
    for minute, text in enumerate(("far", "near", "the cat sleeps", "beside", "two away", "three")):
        await minds.save(text, at=NOW + minute * MINUTE, **said)
    await minds.save("elsewhere", conversation="portal/other")
    hits = {hit.text: hit for hit in await minds.hits("cat") if (hit.link_score or 0) > 0.05}
    assert hits.keys() == {"far", "near", "beside", "two away"}
    assert {hit.linked_to for hit in hits.values()} == {"m3"}
    assert hits["beside"].link_score > hits["two away"].link_score


async def test_what_was_said_hours_later_is_not_beside_it(minds):
    await minds.save("the cat sleeps", conversation="portal/general")
    await minds.save("beside", at=NOW + 61 * MINUTE, conversation="portal/general")
    assert all(hit.linked_to is None for hit in await minds.hits("cat"))


async def test_links_are_followed_twice_in_both_directions_but_not_contradictions(minds):
    cat, one, two, three, other = [
        await minds.save(text) for text in ("the cat sleeps", "alpha", "bravo", "charlie", "delta")
    ]
    await minds.add(MemoryLinked(memory_id=cat, to=one, relation="part_of", weight=1.0))
    await minds.add(MemoryLinked(memory_id=two, to=one, weight=0.8))
    await minds.add(MemoryLinked(memory_id=two, to=three, weight=1.0))
    await minds.add(MemoryLinked(memory_id=cat, to=other, relation="contradicts", weight=1.0))
    scores = {hit.memory_id: hit.link_score for hit in await minds.hits("cat")}
    assert scores[one] > scores[two] > 0.1
    assert (scores.get(three) or 0) < 0.01
    assert (scores.get(other) or 0) < 0.01


async def test_importance_and_age_decide_between_equals_and_no_more(minds):
    await minds.save("the cat sleeps", at=NOW - 400 * DAY)
    await minds.save("the cat sleeps", at=NOW - DAY)
    await minds.save("the cat sleeps", at=NOW - DAY, importance=0.9)
    await minds.save("the cat is a cat", at=NOW, importance=1.0)
    assert [hit.memory_id for hit in await minds.hits("sleeps")][:3] == ["m3", "m2", "m1"]


async def test_what_a_person_is_does_not_grow_old(minds):
    await minds.save("the cat sleeps", kind="event", at=NOW - 2_000 * DAY)
    await minds.save("the cat sleeps", kind="identity", at=NOW - 2_000 * DAY)
    await minds.save("the cat sleeps", kind="event", at=NOW - 30 * DAY)
    found = [hit.memory_id for hit in await minds.hits("cat")]
    assert found == ["m2", "m3", "m1"]


async def test_a_phrase_in_quotation_marks_counts_more(minds):
    await minds.save("the day of the release was fine")
    await minds.save("our release day is Thursday and a longer sentence than that")
    assert (await minds.texts('"release day"', meaning=None))[0].startswith("our release day")


async def test_a_time_that_the_query_speaks_of_brings_what_was_said_then(minds):
    may = 1_746_057_600_000_000  # 2025-05-01
    await minds.save("alpha", at=may + DAY)
    await minds.save("a meeting about budgets", at=may + 100 * DAY)
    assert (await minds.texts("what was said in May 2025?", now=may + 200 * DAY))[0] == "alpha"


async def test_filters_of_kind_and_time_hold_for_every_signal(minds):
    await minds.save("the cat sleeps", at=NOW - 3 * DAY, conversation="portal/x")
    await minds.save("the cat sleeps", at=NOW - 2 * DAY, conversation="portal/x", kind="todo")
    await minds.save("the cat sleeps", at=NOW - DAY, conversation="portal/x")

    async def found(**how):
        return sorted(hit.memory_id for hit in await minds.hits("kitten cat", **how))

    assert await found(kind="todo") == ["m2"]
    assert await found(since=NOW - 2 * DAY) == ["m2", "m3"]
    assert await found(until=NOW - 2 * DAY) == ["m1"]
    assert await found(since=NOW - 2 * DAY, until=NOW - DAY) == ["m2"]


async def test_no_way_of_finding_shows_what_may_not_be_seen(minds):
    """Words, meaning, links and neighbours alike; also after it was replaced or forgotten."""
    said = {"conversation": "portal/general"}
    public = await minds.save("the cat sleeps", **said)
    hidden = [
        await minds.save("the cat is mine", scope="person", person="portal:bo", **said),
        await minds.save("the cat is ours", scope="channel", conversation="portal/private"),
        await minds.save("the cat of another agent", agent="other", **said),
        await minds.save("a forgotten cat", **said),
        await minds.save("a replaced cat", **said),
    ]
    await minds.add(MemoryForgotten(memory_id=hidden[3]))
    replaced = (Replaced(memory_id=hidden[4], why="correction"),)
    await minds.save("unlike", replaces=replaced)
    for each in hidden:
        await minds.add(MemoryLinked(memory_id=public, to=each, weight=1.0))
    for how in ({}, {"signals": "text"}, {"signals": "vector"}, {"fusion": "rrf"}):
        found = {hit.memory_id for hit in await minds.hits("cat kitten", limit=50, **how)}
        assert public in found
        assert found.isdisjoint(hidden)
    seen = await minds.hits("cat", person="portal:bo", conversation="portal/private", limit=50)
    assert {*hidden[:2]} <= {hit.memory_id for hit in seen}


async def test_another_tenants_memory_is_never_found_whatever_is_asked(minds):
    await minds.save("the cat of acme", conversation="portal/general")
    theirs = await minds.save("the cat of globex", tenant="globex", conversation="portal/general")
    await minds.add(MemoryLinked(memory_id=MemoryId("m1"), to=theirs, weight=1.0))
    assert await minds.texts("cat", everyone=True) == ["the cat of acme"]
    assert await minds.texts("cat", everyone=True, tenant="globex") == ["the cat of globex"]
    async with reading(minds.pool, "acme") as conn:
        with pytest.raises(errors.InsufficientPrivilege):
            await conn.execute(SEARCH_GLOBEX)
    async with using(minds.pool) as conn:
        with pytest.raises(errors.InsufficientPrivilege):
            await conn.execute(SEARCH_GLOBEX)


async def test_a_reader_sees_vectors_of_its_tenant_and_no_texts_vectors(minds):
    await minds.save("the cat of acme")
    await minds.save("the cat of globex", tenant="globex")
    async with reading(minds.pool, "acme") as conn:
        cursor = await conn.execute("SELECT DISTINCT tenant FROM vectors")
        assert await cursor.fetchall() == [("acme",)]
        cursor = await conn.execute("SELECT count(*) FROM memory_terms WHERE tenant = 'globex'")
        assert await cursor.fetchone() == (0,)
    for table in ("embeddings", "vector_counts"):
        async with reading(minds.pool, "acme") as conn:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await conn.execute(f"SELECT FROM {table}")


async def test_a_vector_of_another_length_is_left_out(minds):
    await minds.save("the cat sleeps")
    meant = Meaning(minds.embedder.model, [1.0, 0.0])
    (hit,) = await minds.hits("cat", meaning=meant)
    assert (hit.text_rank, hit.vector_rank) == (1, None)


async def test_counts_say_how_many_vectors_there_are(minds):
    gone = await minds.save("the cat sleeps")
    await minds.save("the car", kind="todo")
    async with using(minds.pool) as conn:
        await vectors.remove(conn, "acme", [gone])
        await vectors.remove(conn, "acme", [gone])
        cursor = await conn.execute("SELECT kind, number FROM vector_counts ORDER BY 1")
        assert await cursor.fetchall() == [("fact", 0), ("todo", 1)]
        await minds_are_gone(conn)
        await vectors.sweep(conn)
        cursor = await conn.execute("SELECT sum(number) FROM vector_counts")
        assert await cursor.fetchone() == (0,)


async def minds_are_gone(conn):
    await conn.execute("DELETE FROM memories")


async def test_among_ten_tenants_an_index_finds_what_a_scan_of_all_finds(pool):
    """With a tenant of most of the rows, nine small ones, and a filter: at least 95 of 100."""
    await database.migrate(pool, VECTOR_MIGRATIONS)
    crowd = Crowd({"big": 3_500, **{f"small{number}": 80 for number in range(9)}})
    async with session(pool) as conn:
        await crowd.fill(conn)
        # as in a table of millions, where comparing with every vector is out of the question
        by_index = SEARCH.replace(
            "exact      CONSTANT integer := 600", "exact CONSTANT integer := 1"
        )
        assert by_index != SEARCH
        await conn.execute(by_index)
        await conn.execute(f"GRANT EXECUTE ON FUNCTION memory_search TO {database.READER}")
        found = await vectors.model(conn, MODEL)
    assert found is not None
    assert found.hnsw
    for tenant, kind in (("big", None), ("big", "todo"), ("small3", None)):
        shares = []
        for topic in range(0, TOPICS, 10):
            vector = crowd.near(topic)
            meant = Meaning(MODEL, vector.tolist())
            async with reading(pool, tenant) as conn:
                hits = await memories.recall(
                    conn, tenant, "atlas", "", meaning=meant, kind=kind, signals="vector"
                )
            exact = crowd.nearest(tenant, vector, kind=kind)
            shares.append(recall_of([hit.memory_id for hit in hits], exact))
        assert sum(shares) / len(shares) >= 0.95, (tenant, kind)
