"""What documents say is found by meaning too, in its tenant and agent, as long as it is there."""

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from projections import passage_vectors, passages, vectors
from projections.memories import Meaning
from projections.registry import BY_NAME, VECTOR_MIGRATIONS
from schemas.base import DocumentId, EventId
from schemas.envelope import encode, seal
from schemas.ingest import ChunksRemoved, ChunksStored, DocumentForgotten
from schemas.subjects import Subject
from services.runtime import database
from services.runtime.database import reading, session, using
from services.runtime.recording import record
from tests.support.crowd import DIMENSIONS, MODEL, TOPICS, Crowd, recall_of
from tests.support.documents import chunks, ingested, sha_of
from tests.support.minds import Minds

pytestmark = pytest.mark.integration

REMOVED = {"document_id": DocumentId("d-1"), "received": EventId("r")}
OF_ALL = "SELECT kind, number FROM vector_counts WHERE tenant = 'acme'"


@pytest.fixture
async def minds(pool):
    await database.migrate(pool, VECTOR_MIGRATIONS)
    return Minds(pool)


async def texts(minds, query, **how):
    return [hit.text for hit in await minds.passages(query, **how)]


async def test_what_shares_no_word_is_found_by_meaning_and_says_so(minds):
    await minds.ingest("the cat sleeps", "interest rates rose")
    (hit,) = await minds.passages("kitten")
    assert (hit.text, hit.text_rank, hit.vector_rank) == ("the cat sleeps", None, 1)
    assert (hit.name, hit.heading) == ("handbook.md", "Rules")
    assert hit.score == pytest.approx(0.5 * 3**-0.5, abs=0.01)


async def test_a_passage_is_found_by_one_of_its_sentences_and_told_once_and_whole(minds):
    of_cats = "The cat and the cat and the cat and the cat."
    nobody = "Nobody was at home on the day of the fire."
    whole = f"Interest rates rose again by half a point. {of_cats} {nobody}"
    await minds.ingest(whole, "The price of houses fell in all of the regions this year.")
    (hit,) = await minds.passages("kitten")
    assert (hit.text, hit.vector_rank) == (whole, 1)
    sentence, asked = minds.embedder.vector(of_cats), minds.embedder.vector("kitten")
    cosine = sum(a * b for a, b in zip(asked, sentence, strict=True))
    assert hit.score == pytest.approx(0.5 * cosine, abs=0.01)
    async with using(minds.pool) as conn:
        cursor = await conn.execute("SELECT sum(number) FROM vector_counts WHERE kind = 'passage'")
        (counted,) = await cursor.fetchone()
        cursor = await conn.execute("SELECT part FROM passage_vectors ORDER BY part")
        numbers = [number for (number,) in await cursor.fetchall()]
    assert numbers == [0, 0, 1, 2]
    assert counted == 4


async def test_many_sentences_of_one_passage_keep_no_other_from_being_found(minds):
    of_cats = (f"The cat and the cat and cat number {number:03} sleep." for number in range(60))
    await minds.ingest(" ".join(of_cats), "A cat and a dog and a cat and a bird and a cat and you.")
    assert len(await minds.passages("kitten")) == 2


async def test_words_and_meaning_together_count_more_than_either(minds):
    await minds.ingest("kitten food is here", "cat food is here", "the kitten ran off there")
    found = await minds.passages("kitten food")
    assert found[0].text == "kitten food is here"
    assert (found[0].text_rank, {hit.vector_rank for hit in found[:2]}) == (1, {1, 2})
    assert found[0].score > found[1].score > found[2].score


async def test_what_is_about_something_else_is_no_answer(minds):
    await minds.ingest("interest rates rose again this week", "nobody was at home then")
    assert await texts(minds, "where does the kitten sleep") == []


async def test_other_agents_and_tenants_find_nothing_by_meaning(minds):
    await minds.ingest("the cat of acme")
    await minds.ingest("the cat of globex", tenant="globex")
    await minds.ingest("the cat of another agent", agent="other")
    assert await texts(minds, "kitten") == ["the cat of acme"]
    assert await texts(minds, "kitten", tenant="globex") == ["the cat of globex"]
    assert await texts(minds, "kitten", agent="other") == ["the cat of another agent"]
    meant = Meaning(minds.embedder.model, minds.embedder.vector("kitten"))
    async with reading(minds.pool, "acme") as conn:
        with pytest.raises(InsufficientPrivilege):
            await conn.execute(
                "SELECT passage_search('globex', 'atlas', '', %s, %s, 9, 9, 9)",
                (vectors.encode(meant.vector), meant.model),
            )
    async with reading(minds.pool, "acme") as conn:
        assert await passages.search(conn, "acme", "globex", "kitten", meaning=meant) == []
        cursor = await conn.execute("SELECT DISTINCT tenant FROM passage_vectors")
        assert await cursor.fetchall() == [("acme",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await conn.execute("INSERT INTO passage_vectors TABLE passage_vectors")


async def test_a_text_of_several_documents_is_found_once_until_the_last_is_gone(minds):
    await minds.ingest("the cat sleeps")
    await minds.ingest("the cat sleeps", "the cat eats", id_="d-2")
    assert sorted(await texts(minds, "kitten")) == ["the cat eats", "the cat sleeps"]
    assert len(minds.embedder.embedded) == 2
    await minds.tell(ChunksRemoved(**REMOVED, chunks=(sha_of("the cat sleeps"),)))
    found = {hit.text: hit.document_id for hit in await minds.passages("kitten")}
    assert found == {"the cat eats": "d-2", "the cat sleeps": "d-2"}
    await minds.tell(DocumentForgotten(document_id=DocumentId("d-2")))
    assert await texts(minds, "kitten") == []


async def test_what_is_gone_loses_its_vector_and_counts_say_so(minds):
    await minds.save("the cat is a memory")
    await minds.ingest("the cat sleeps", "the cat eats")
    await minds.ingest("the cat sleeps", agent="other")
    await minds.tell(ChunksRemoved(**REMOVED, chunks=(sha_of("the cat sleeps"),)))
    async with using(minds.pool) as conn:
        await passage_vectors.sweep(conn, "acme", "other")
        cursor = await conn.execute(OF_ALL + " AND agent = 'atlas' ORDER BY 1")
        assert await cursor.fetchall() == [("fact", 1), ("passage", 2)]
        await passage_vectors.sweep(conn, "acme", "atlas")
        await passage_vectors.sweep(conn, "acme", "atlas")
        cursor = await conn.execute(OF_ALL + " ORDER BY agent, kind")
        assert await cursor.fetchall() == [("fact", 1), ("passage", 1), ("passage", 1)]
        cursor = await conn.execute("SELECT agent, sha256 FROM passage_vectors ORDER BY 1")
        left = [("atlas", sha_of("the cat eats")), ("other", sha_of("the cat sleeps"))]
        assert await cursor.fetchall() == left
        await conn.execute("DELETE FROM passages")
        await passage_vectors.sweep(conn)
        cursor = await conn.execute("SELECT kind, sum(number) FROM vector_counts GROUP BY 1")
        assert sorted(await cursor.fetchall()) == [("fact", 1), ("passage", 0)]


async def test_a_vector_of_another_length_or_model_is_left_out(minds):
    await minds.ingest("the cat sleeps")
    for meant in (Meaning(minds.embedder.model, [1.0, 0.0]), Meaning("other@1", [1.0] * 256)):
        (hit,) = await minds.passages("cat", meaning=meant)
        assert (hit.text_rank, hit.vector_rank) == (1, None)


async def test_without_vectors_words_find(pool):
    minds = Minds(pool)
    async with using(pool) as conn:
        told = ChunksStored(**REMOVED, chunks=chunks("the cat sleeps"))
        sealed = seal(told, id=EventId("e"), at=1, actor="test")
        subject = str(Subject("acme", "atlas", entity="ingest", id="d-1"))
        await BY_NAME["passages"].apply(conn, [record(1, subject, encode(sealed))])
    async with reading(pool, "acme") as conn:
        cursor = await conn.execute(
            "SELECT text_rank, vector_rank "
            "FROM passage_search('acme', 'atlas', 'cat', %s, %s, 9, 9, 9)",
            (vectors.encode(minds.embedder.vector("cat")), minds.embedder.model),
        )
        assert await cursor.fetchall() == [(1, None)]


async def test_among_agents_and_tenants_an_index_finds_what_a_scan_of_all_finds(pool):
    """At least 95 of 100, for an agent with most of the rows, and for small ones."""
    await database.migrate(pool, VECTOR_MIGRATIONS)
    crowd = Crowd({"big": 4_000, **{f"small{number}": 60 for number in range(9)}})
    crowd.members = list(crowd.tell())
    async with session(pool) as conn:
        await _fill(conn, crowd)
        # as in a table of millions, where comparing with every vector is out of the question
        by_index = passages.SQL["create_search"].replace(
            "exact      CONSTANT integer := 600", "exact CONSTANT integer := 1"
        )
        assert by_index != passages.SQL["create_search"]
        await conn.execute(by_index)
        await conn.execute(f"GRANT EXECUTE ON FUNCTION passage_search TO {database.READER}")
        found = await vectors.model(conn, MODEL)
    assert found is not None
    assert (found.hnsw, found.passages_hnsw) == (False, True)
    for tenant in ("big", "small3"):
        mine = [member for member in crowd.members if member.tenant == tenant]
        shares = []
        for topic in range(0, TOPICS, 10):
            vector = crowd.near(topic)
            meant = Meaning(MODEL, vector.tolist())
            async with reading(pool, tenant) as conn:
                hits = await passages.search(conn, tenant, "atlas", "", meaning=meant)
            alike = sorted(((member.vector @ vector, member.text) for member in mine), reverse=True)
            exact = [text for score, text in alike if score > 0.32][:10]
            if exact:
                shares.append(recall_of([hit.text for hit in hits], exact))
        assert shares
        assert sum(shares) / len(shares) >= 0.95, tenant


async def _fill(conn, crowd):
    """Make a passage of each member, with its vector, and index them."""
    told = []
    for tenant in crowd.sizes:
        mine = [member.text for member in crowd.members if member.tenant == tenant]
        for event in ingested(*mine):
            seq = len(told) + 1
            sealed = seal(event, id=EventId(f"e{seq}"), at=seq, actor="test")
            subject = str(Subject(tenant, "atlas", entity="ingest", id="d-1"))
            told.append(record(seq, subject, encode(sealed)))
    await BY_NAME["passages"].apply(conn, told)
    await vectors.add_model(conn, MODEL, DIMENSIONS)
    known = {bytes.fromhex(sha_of(member.text)): member.vector for member in crowd.members}
    await vectors.cache(conn, MODEL, {key: vector.tolist() for key, vector in known.items()})
    missing = await passage_vectors.missing(conn, MODEL, after=0, limit=10_000)
    await passage_vectors.add(conn, MODEL, list(passage_vectors.divided(missing)))
    await vectors.switch(conn, MODEL)
    found = await vectors.model(conn, MODEL)
    assert await passage_vectors.needs_index(conn, found)
    await passage_vectors.index(conn, found)
