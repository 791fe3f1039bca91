"""What an agent remembers is found by any of its words, the rare ones first, and by whom it may."""

import pytest

from projections import memories
from projections.registry import BY_NAME
from schemas.base import BodyRef, EventId, MemoryId
from schemas.envelope import encode, seal
from schemas.memory import MemoryForgotten, MemorySaved
from schemas.subjects import Subject
from services.runtime.database import reading
from services.runtime.recording import record

pytestmark = pytest.mark.integration

TEXTS = (
    "our release day is Thursday",
    "the release notes are written by Bo",
    "Ana prefers tea in the morning",
    "every day begins with a stand-up at nine",
    "the staging server is called heron",
    "the production server is called crane",
    "Ana's e-mail is ana@example.com",
    "Freigabe ist immer am Donnerstag",
)


class Remembering:
    """Saves memories of one agent unless told otherwise."""

    def __init__(self, pool) -> None:
        self.pool = pool
        self.seq = 0

    async def save(self, text, *, agent="atlas", importance=0.5, kind="fact", **fields):
        memory_id = MemoryId(f"m{self.seq + 1}")
        await self.add(
            MemorySaved(memory_id=memory_id, kind=kind, text=text, importance=importance, **fields),
            agent=agent,
        )
        return memory_id

    async def add(self, event, *, agent="atlas"):
        self.seq += 1
        sealed = seal(event, id=EventId(f"e{self.seq}"), at=self.seq, actor="test")
        subject = str(Subject("acme", agent, entity="memory"))
        async with self.pool.connection() as conn:
            await BY_NAME["memories"].apply(conn, [record(self.seq, subject, encode(sealed))])

    async def recall(self, query="", *, agent="atlas", **how):
        async with reading(self.pool, "acme") as conn:
            found = await memories.recall(conn, "acme", agent, query, **how)
        return [memory.text for memory in found]


@pytest.fixture
async def remembering(pool):
    remembering = Remembering(pool)
    for text in TEXTS:
        await remembering.save(text)
    return remembering


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("when is our release day?", "our release day is Thursday"),
        ("What does Ana drink?", "Ana prefers tea in the morning"),
        ("who is writing the release notes", "the release notes are written by Bo"),
        ("name of the STAGING servers", "the staging server is called heron"),
        ("ana@example.com", "Ana's e-mail is ana@example.com"),
        ("Ana e-mail", "Ana's e-mail is ana@example.com"),
        ("An welchem Tag ist die Freigabe?", "Freigabe ist immer am Donnerstag"),
        ("stand-up", "every day begins with a stand-up at nine"),
    ],
)
async def test_a_question_finds_its_answer_first(remembering, question, answer):
    assert (await remembering.recall(question))[0] == answer


async def test_rare_words_count_more_than_common_ones(remembering):
    for number in range(20):
        await remembering.save(f"the server number {number} is a server that is called a server")
    assert (await remembering.recall("the server called crane"))[0] == TEXTS[5]


async def test_nothing_is_found_where_no_word_occurs(remembering):
    assert await remembering.recall("submarine") == []


@pytest.mark.parametrize(
    "query", ["crane & | ! :* <-> ( ' \\ \x00", "%s {} :columns crane", "'crane' & !server \\'"]
)
async def test_no_character_of_a_query_has_a_meaning(remembering, query):
    assert (await remembering.recall(query))[0] == "the production server is called crane"


@pytest.mark.parametrize("query", ["", "who are you?", "!?", " \t"])
async def test_what_has_no_words_to_find_falls_back_to_importance(remembering, query):
    await remembering.save("the most important", importance=0.9)
    assert (await remembering.recall(query, limit=2)) == ["the most important", TEXTS[-1]]


async def test_modes_order_by_age_or_importance(remembering):
    await remembering.save("the most important", importance=1.0)
    await remembering.save("the newest", importance=0.1)
    assert await remembering.recall(mode="recent", limit=2) == ["the newest", "the most important"]
    assert (await remembering.recall(mode="important"))[0] == "the most important"
    assert (await remembering.recall(mode="important", limit=20))[-1] == "the newest"


async def test_one_kind_only(remembering):
    await remembering.save("release in the evening", kind="preference")
    assert await remembering.recall("release", kind="preference") == ["release in the evening"]
    assert await remembering.recall(kind="preference") == ["release in the evening"]


async def test_what_is_forgotten_is_not_recalled(remembering):
    await remembering.add(MemoryForgotten(memory_id=MemoryId("m1")))
    for mode in ("hybrid", "recent", "important", "typed"):
        assert TEXTS[0] not in await remembering.recall("release day", mode=mode, limit=50)


async def test_a_memory_of_a_person_or_a_channel_is_recalled_there_alone(remembering):
    await remembering.save("zebra of Ana", scope="person", person="portal:ana")
    await remembering.save("zebra of general", scope="channel", conversation="portal/general")
    await remembering.save("zebra of all")
    assert await remembering.recall("zebra") == ["zebra of all"]
    assert set(await remembering.recall("zebra", person="portal:ana")) == {
        "zebra of Ana",
        "zebra of all",
    }
    assert set(await remembering.recall("zebra", conversation="portal/general")) == {
        "zebra of general",
        "zebra of all",
    }
    assert await remembering.recall("zebra", person="portal:bo", conversation="portal/x") == [
        "zebra of all"
    ]
    assert len(await remembering.recall("zebra", everyone=True)) == 3


async def test_a_person_may_have_several_ids(remembering):
    await remembering.save("zebra of Ana", scope="person", person="portal:ana")
    await remembering.save("zebra of the same", scope="person", person="discord:77")
    assert await remembering.recall("zebra", person=["portal:x"]) == []
    assert len(await remembering.recall("zebra", person=["portal:ana", "discord:77"])) == 2


async def test_one_scope_only(remembering):
    await remembering.save("zebra of Ana", scope="person", person="portal:ana")
    await remembering.save("zebra of all")
    found = await remembering.recall("zebra", person="portal:ana", scope="person")
    assert found == ["zebra of Ana"]
    assert await remembering.recall("zebra", scope="person") == []


async def test_another_agents_memory_is_recalled_only_if_it_is_the_tenants(remembering):
    await remembering.save("walrus of bo", agent="bo")
    await remembering.save("walrus of everyone", agent="bo", scope="tenant")
    assert await remembering.recall("walrus") == ["walrus of everyone"]
    assert len(await remembering.recall("walrus", agent="bo")) == 2


async def test_a_text_that_is_kept_elsewhere_has_no_words_but_is_there(remembering):
    body = BodyRef(sha256="ab" * 32, bytes=20_000)
    await remembering.save(body, importance=1.0)
    assert (await remembering.recall(mode="important"))[0] == body
    assert body not in await remembering.recall("sha256 release bytes", limit=50)
