"""What documents say is found by words, in its own tenant and agent, as long as it is there."""

import pytest
from psycopg.errors import InsufficientPrivilege

from projections import passages
from projections.passages import NAME
from projections.registry import BY_NAME
from schemas.base import DocumentId, EventId
from schemas.envelope import encode, seal
from schemas.ingest import (
    ChunksRemoved,
    ChunksStored,
    DocumentForgotten,
    DocumentRefused,
)
from schemas.subjects import Subject
from services.runtime.database import reading, using
from services.runtime.recording import record
from tests.support.documents import chunks, ingested, sha_of

pytestmark = pytest.mark.integration

TEXTS = (
    "Releases go out on Friday, unless somebody objects.",
    "The staging server is called heron.",
    "The production server is called crane, and nobody logs in there.",
    "Holidays are asked for a month ahead.",
)


class Library:
    """Documents of one tenant; every event is a batch of its own unless told otherwise."""

    def __init__(self, pool) -> None:
        self.pool = pool
        self.events = []

    async def add(self, *events, agent="atlas", tenant="acme"):
        start = len(self.events)
        for event in events:
            seq = len(self.events) + 1
            subject = str(Subject(tenant, agent, entity="ingest", id=event.document_id))
            sealed = seal(event, id=EventId(f"e{seq}"), at=seq * 1_000, actor="test")
            self.events.append(record(seq, subject, encode(sealed)))
        async with self.pool.connection() as conn:
            await BY_NAME[NAME].apply(conn, self.events[start:])

    async def ingest(self, *texts, id_="d-1", name="handbook.md", heading="Rules", **where):
        await self.add(*ingested(*texts, id_=id_, name=name, heading=heading), **where)

    async def search(self, query, *, agent="atlas", tenant="acme", limit=10):
        async with reading(self.pool, tenant) as conn:
            return await passages.search(conn, tenant, agent, query, limit=limit)

    async def texts(self, query, **how):
        return [passage.text for passage in await self.search(query, **how)]

    async def documents(self, tenant="acme"):
        async with reading(self.pool, tenant) as conn:
            return await passages.documents(conn, tenant, "atlas")


@pytest.fixture
async def library(pool):
    library = Library(pool)
    await library.ingest(*TEXTS)
    return library


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("when do we release?", TEXTS[0]),
        ("what is the name of the staging server", TEXTS[1]),
        ("CRANE", TEXTS[2]),
        ("how do I ask for holidays?", TEXTS[3]),
    ],
)
async def test_a_question_finds_its_passage_first(library, question, answer):
    assert (await library.texts(question))[0] == answer


async def test_a_passage_tells_where_it_stands(library):
    (found,) = await library.search("holidays")
    assert (found.name, found.heading, found.rank) == ("handbook.md", "Rules", 4)
    assert found.id == f"d-1.{found.sha256[:16]}"
    assert found.created_at == 3_000


async def test_words_of_a_heading_find_what_stands_below_it(library):
    await library.ingest("Ask Ana.", id_="d-2", heading="Expenses > Travel")
    assert await library.texts("travel expenses") == ["Ask Ana."]


@pytest.mark.parametrize("query", ["", "the of and", "nothing-like-this", "' OR 1=1; --", "\x00"])
async def test_a_question_without_an_answer_finds_nothing(library, query):
    assert await library.texts(query) == []


async def test_what_several_documents_say_is_found_once(library):
    await library.ingest(TEXTS[0], "Only here: friday.", id_="d-2", name="copy.md")
    assert sorted(await library.texts("friday")) == sorted([TEXTS[0], "Only here: friday."])
    assert len(await library.texts("friday", limit=1)) == 1


async def test_other_agents_and_tenants_find_nothing(library):
    await library.ingest("Their release is on Monday.", tenant="globex")
    await library.ingest("Another agent's release.", agent="other")
    assert await library.texts("release") == [TEXTS[0]]
    assert await library.texts("release", tenant="globex") == ["Their release is on Monday."]
    async with reading(library.pool, "acme") as conn:  # asks for another's, and is not shown it
        assert await passages.documents(conn, "globex", "atlas") == []
        assert await passages.search(conn, "globex", "atlas", "release") == []
        with pytest.raises(InsufficientPrivilege):
            await conn.execute(
                "SELECT passage_search('globex', 'atlas', 'release', NULL, NULL, 9, 9, 9)"
            )


@pytest.mark.parametrize("at_once", [True, False])
async def test_rows_are_those_of_the_newest_content(pool, at_once):
    library = Library(pool)
    mine = {"document_id": DocumentId("d-1"), "received": EventId("r")}
    (moved,) = chunks(TEXTS[1], heading="Servers")
    story = (
        *ingested(*TEXTS),
        ChunksStored(**mine, chunks=(moved, *chunks("Something new."))),
        ChunksRemoved(**mine, chunks=(sha_of(TEXTS[0]), sha_of(TEXTS[3]), sha_of("never there"))),
        ChunksStored(**mine, chunks=chunks(TEXTS[3])),
    )
    for batch in [story] if at_once else [[event] for event in story]:
        await library.add(*batch)
    async with reading(pool, "acme") as conn:
        found = await passages.of_document(conn, "acme", "atlas", "d-1")
    assert {passage.text: (passage.rank, passage.heading) for passage in found} == {
        "Something new.": (1, "Rules"),
        TEXTS[1]: (1, "Servers"),
        TEXTS[2]: (3, "Rules"),
        TEXTS[3]: (1, "Rules"),
    }


@pytest.mark.parametrize("at_once", [True, False])
async def test_of_a_forgotten_document_nothing_is_found_until_it_comes_again(pool, at_once):
    library = Library(pool)
    await library.ingest("Another document.", id_="d-2")
    story = (*ingested(*TEXTS), DocumentForgotten(document_id=DocumentId("d-1"), reason="old"))
    for batch in [story] if at_once else [[event] for event in story]:
        await library.add(*batch)
    assert await library.texts("release server holidays document") == ["Another document."]
    assert [document.document_id for document in await library.documents()] == ["d-2"]
    await library.add(*ingested(TEXTS[2]))
    assert await library.texts("release server holidays") == [TEXTS[2]]
    assert len(await library.documents()) == 2


async def test_a_document_is_listed_with_how_it_is(library):
    (document,) = await library.documents()
    assert (document.name, document.state, document.chunks) == ("handbook.md", "ingested", 4)
    assert (document.bytes, document.media_type) == (7, "text/markdown")
    assert (document.received_at, document.changed_at, document.seq) == (1_000, 4_000, 4)


async def test_a_refused_document_is_listed_with_the_reason(library):
    refused = {"name": "big.pdf", "reason": "too_large", "detail": "split it"}
    await library.add(DocumentRefused(document_id=DocumentId("d-3"), **refused))
    document, _ = await library.documents()
    assert (document.state, document.reason, document.detail) == (
        *("refused", "too_large", "split it"),
    )
    assert document.sha256 is None


async def test_a_rare_word_is_found_among_many_common_ones(pool):
    library = Library(pool)
    await library.ingest(*(f"Common words, number {number}." for number in range(3_000)))
    await library.ingest("Common words about a zeppelin.", "Words alone.", id_="d-2")
    assert (await library.texts("common zeppelin words"))[0] == "Common words about a zeppelin."
    assert (await library.texts("number 2345"))[0] == "Common words, number 2345."
    assert "Common words" in (await library.texts("common words unheard-of"))[0]


async def test_a_large_document_is_written_whole(pool):
    library = Library(pool)
    many = [f"Passage number {number} about herons." for number in range(5_001)]
    await library.ingest(*many)
    async with using(pool) as conn:
        cursor = await conn.execute("SELECT count(*) FROM passages")
        assert await cursor.fetchone() == (5_001,)
    assert len(await library.texts("herons", limit=20)) == 20
