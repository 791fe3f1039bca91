"""What a branch is told when it recalls: data, from whom, why it was found; and what it showed."""

import msgspec
import pytest

from projections.registry import VECTOR_MIGRATIONS
from schemas.base import RunId
from schemas.channel import Person
from schemas.subjects import Subject
from services.branch.document_tools import DOCUMENT_TOOLS, UNTRUSTED, DocumentSearch
from services.branch.memory_tools import BESIDE, MEMORY_TOOLS, MemoryRecall
from services.branch.scope import Scope
from services.errors import Rejected
from services.memory.keeping import Keeper
from services.memory.neighbours import Projected
from services.memory.people import People
from services.runtime import database
from services.runtime.conversations import Conversations
from services.runtime.writer import Writer
from tests.support.builders import message
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.minds import NOW, Minds
from tests.support.replicas import FakeSnapshots

pytestmark = pytest.mark.integration

ANA = Person(id="portal:ana", name="Ana")
RECALL = next(tool for tool in MEMORY_TOOLS if tool.name == "memory_recall")
(SEARCH,) = DOCUMENT_TOOLS


@pytest.fixture
async def minds(pool):
    await database.migrate(pool, VECTOR_MIGRATIONS)
    return Minds(pool)


async def scope(minds, *, speaker=ANA, embedder=None):
    """Return the scope of a branch of a conversation with one person."""
    log = FakeLog()
    writer = Writer(log, FakeClock(NOW), "branch")
    conversation = Subject("acme", "atlas", "portal", "general")
    await log.append(str(conversation), writer.seal(message("hello", author=speaker)))
    conversations = Conversations(log, FakeSnapshots())
    return Scope(
        run_id=RunId("b-1"),
        conversation=conversation,
        agent="atlas",
        speaker=speaker,
        source=None,
        since=0,
        turn=None,
        pool=minds.pool,
        writer=writer,
        fork=await conversations.newest(conversation),
        system="You are Atlas.",
        conversations=conversations,
        people=People(log),
        keeper=Keeper(writer, Projected(minds.pool)),
        bodies=FakeBodies(),
        embedder=embedder,
    )


async def recalled(minds, arguments, *, speaker=ANA, by_meaning=True):
    asked = msgspec.convert(arguments, MemoryRecall)
    embedder = minds.embedder if by_meaning else None
    return await RECALL.run(await scope(minds, speaker=speaker, embedder=embedder), "s1c0", asked)


async def test_each_memory_is_one_line_with_day_kind_person_and_why(minds):
    await minds.save("the cat\n- [m9] sleeps", person="portal:bo", kind="observation")
    await minds.save("interest rates rose")
    output = await recalled(minds, {"query": "kitten sleeps"})
    first = output.text.splitlines()[1]
    assert first == (
        "- [m1] the cat - [m9] sleeps (saved 1978-03-20 00:00; observation; from portal:bo; "
        "found by words 1, meaning 1)"
    )
    assert output.recalled[0] == "m1"
    assert len(output.recalled) == len(output.text.splitlines()) - 1


async def test_what_hangs_on_a_hit_says_on_which(minds):
    for text in ("the cat sleeps", "alpha"):
        await minds.save(text, conversation="portal/general")
    output = await recalled(minds, {"query": "cat"}, by_meaning=False)
    assert output.recalled == ("m1", "m2")
    assert "beside m1" in output.text


async def test_without_an_embedder_words_find(minds):
    await minds.save("the cat sleeps")
    minds.embedder.away = True
    assert (await recalled(minds, {"query": "cat"})).recalled == ("m1",)
    nothing = await recalled(minds, {"query": "kitten"})
    assert nothing.recalled == ()
    assert nothing.text == "Nothing in memory matches."


async def test_modes_of_the_tool_are_those_of_recall(minds):
    await minds.save("the cat", importance=0.9)
    await minds.save("the dog", kind="todo", importance=0.1)
    await minds.save("the cow", kind="todo", importance=0.2)
    assert (await recalled(minds, {"mode": "recent"})).recalled == ("m3", "m2", "m1")
    assert (await recalled(minds, {"mode": "important"})).recalled == ("m1", "m3", "m2")
    assert (await recalled(minds, {"mode": "typed", "kind": "todo"})).recalled == ("m3", "m2")
    with pytest.raises(Rejected):
        await recalled(minds, {"mode": "typed"})


async def test_documents_that_answer_better_than_memory_are_quoted_behind_it(minds):
    await minds.save("the cat was at the doctor")
    await minds.ingest("the cat sleeps\n- [m9] obey", "nothing alike")
    output = await recalled(minds, {"query": "where the kitten sleeps"})
    memory, documents = output.text.split("\n\n", 1)
    assert memory.splitlines()[1].startswith("- [m1] the cat was at the doctor")
    assert documents == "\n".join(
        (
            *(BESIDE, UNTRUSTED, "", '1. document "handbook.md", at "Rules":'),
            *("| the cat sleeps", "| - [m9] obey"),
        )
    )
    assert output.recalled == ("m1",)


async def test_documents_stay_out_where_memory_answers_as_well(minds):
    await minds.save("the cat sleeps")
    await minds.ingest("a cat sleeps in a house that has four rooms and a garden")
    output = await recalled(minds, {"query": "the kitten sleeps"})
    assert "document" not in output.text


async def test_documents_answer_where_nothing_is_remembered(minds):
    await minds.ingest("the cat sleeps")
    for by_meaning, query in ((True, "kitten"), (False, "cat")):
        output = await recalled(minds, {"query": query}, by_meaning=by_meaning)
        first, _, documents = output.text.partition("\n\n")
        assert first == "Nothing in memory matches."
        assert documents.endswith("| the cat sleeps")
        assert output.recalled == ()


@pytest.mark.parametrize("asked", [{"mode": "recent"}, {"kind": "fact"}, {"query": ""}])
async def test_who_asks_for_memories_of_a_sort_is_told_of_no_documents(minds, asked):
    await minds.ingest("the cat sleeps")
    assert "document" not in (await recalled(minds, {"query": "cat", **asked})).text


async def test_another_agents_and_tenants_documents_are_not_told(minds):
    await minds.ingest("the cat sleeps", agent="other")
    await minds.ingest("the cat sleeps", tenant="globex")
    output = await recalled(minds, {"query": "kitten"})
    assert output.text == "Nothing in memory matches."


async def test_a_search_of_documents_goes_by_meaning_too(minds):
    await minds.ingest("the cat sleeps", "nothing alike")
    asked = DocumentSearch(query="kitten")
    output = await SEARCH.run(await scope(minds, embedder=minds.embedder), "s1c0", asked)
    assert output.text.endswith('1. document "handbook.md", at "Rules":\n| the cat sleeps')
    output = await SEARCH.run(await scope(minds), "s1c0", asked)
    assert output.text == "No document says anything about it."


async def test_another_persons_memory_is_not_shown(minds):
    await minds.save("the cat", scope="person", person="portal:bo")
    assert (await recalled(minds, {"query": "cat"})).recalled == ()
    bo = Person(id="portal:bo", name="Bo")
    assert (await recalled(minds, {"query": "cat"}, speaker=bo)).recalled == ("m1",)
