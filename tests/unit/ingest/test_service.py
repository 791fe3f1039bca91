"""Ingestion stores a document once: twice, at once, after a crash, and when the log is away."""

import asyncio

import pytest

from schemas.ingest import ChunksStored, DocumentIngested, DocumentReceived, DocumentRefused
from services.errors import LogFull, LogUnavailable
from services.runtime.agents import Agent, UnknownAgent, define
from services.runtime.documents import (
    InvalidDocument,
    UnknownDocument,
)
from tests.support.library import ANA, TEXT, Library


@pytest.fixture
async def library():
    library = Library()
    await define(library.writer, Agent("acme", "atlas", "Atlas"))
    return library


def texts(library):
    return [chunk.text for event in library.events(ChunksStored) for chunk in event.chunks]


async def test_a_document_is_taken_in_and_read(library):
    standing = await library.take()
    assert (standing.state, standing.is_new, standing.name) == ("received", True, "a.md")
    await library.ingestion().handle(library.newest())
    standing = await library.documents().standing("acme", "atlas", standing.document_id)
    assert standing.state == "ingested"
    assert standing.stored == standing.to_store == standing.chunks == len(texts(library)) > 100
    assert library.events()[-1] == library.events(DocumentIngested)[0]


async def test_every_step_is_caused_by_what_was_handed_in(library):
    await library.take()
    await library.ingestion().handle(library.newest())
    received, *steps = [recorded.envelope for recorded in library.log.events[1:]]
    assert {step.cause for step in steps} == {received.id}
    assert received.actor == ANA


async def test_the_same_content_again_changes_nothing(library):
    await library.take()
    await library.ingestion().handle(library.newest())
    before = list(library.log.events)
    standing = await library.take()
    assert (standing.state, standing.is_new) == ("ingested", False)
    assert library.log.events == before


async def test_of_a_changed_content_only_what_differs_is_stored(library):
    await library.take()
    await library.ingestion().handle(library.newest())
    first = texts(library)
    await library.take(text=TEXT.replace("number 150 ", "number one hundred and fifty "))
    await library.ingestion().handle(library.newest())
    new = texts(library)[len(first) :]
    assert 0 < len(new) < 8
    assert any("one hundred and fifty" in text for text in new)


async def test_a_delivery_that_comes_again_does_nothing(library):
    await library.take()
    await library.ingestion().handle(library.newest())
    before = list(library.log.events)
    await library.ingestion().handle(library.newest())
    assert library.log.events == before


async def test_an_older_content_is_not_read_once_there_is_a_newer_one(library):
    await library.take(text="old")
    await library.take(text="new")
    old, new = library.deliveries()
    await library.ingestion().handle(old)
    assert library.reader.read_names == []
    await library.ingestion().handle(new)
    assert texts(library) == ["new"]


async def test_a_content_that_is_replaced_while_it_is_read_is_left_to_the_newer_one(library):
    await library.take(text="old")
    library.reader.meanwhile = lambda: library.take(text="new")
    await library.ingestion().handle(library.deliveries()[0])
    assert texts(library) == []
    await library.ingestion().handle(library.newest())
    assert texts(library) == ["new"]


async def test_two_replicas_with_one_document_store_it_once(library):
    await library.take()
    delivery = library.newest()
    await asyncio.gather(*(library.ingestion().handle(delivery) for _ in range(3)))
    assert len(texts(library)) == len(set(texts(library)))
    assert len(library.events(DocumentIngested)) == 1


async def test_the_same_document_from_two_sides_at_once_is_taken_in_once(library):
    first, second = await asyncio.gather(library.take(), library.take())
    assert len(library.events(DocumentReceived)) == 1
    assert {first.is_new, second.is_new} == {True, False} or first.seq == second.seq


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_death_at_any_event_leaves_what_the_next_process_completes(library, when):
    await library.take()
    await library.ingestion().handle(library.newest())
    undisturbed = library.events()
    for number in range(1, len(undisturbed)):
        again = Library()
        await define(again.writer, Agent("acme", "atlas", "Atlas"))
        await again.take()
        left = number

        def die(_):
            nonlocal left
            left -= 1
            if left == 0:
                raise Died

        again.log.before_append = die
        store = again.log._store

        async def store_then_die(appends, store=store, log=again.log):
            hook, log.before_append = log.before_append, None
            seq = await store(appends)
            log.before_append = hook
            hook and hook("")
            return seq

        if when == "after":
            again.log._store = store_then_die
        with pytest.raises(Died):
            await again.ingestion().handle(again.newest())
        again.log.before_append = None
        again.log._store = store
        await again.ingestion().handle(again.newest())
        assert again.events() == undisturbed


@pytest.mark.parametrize("error", [LogUnavailable, LogFull])
async def test_what_the_log_did_not_take_is_handed_on_at_the_next_delivery(library, error):
    await library.take()
    count = 0

    def refuse(_):
        nonlocal count
        count += 1
        if count == 2:
            raise error

    library.log.before_append = refuse
    with pytest.raises(error):
        await library.ingestion().handle(library.newest())
    await library.ingestion().handle(library.newest())
    assert len(texts(library)) == len(set(texts(library)))
    assert len(library.events(DocumentIngested)) == 1


async def test_a_writer_who_decided_otherwise_is_followed(library):
    """Another version of us divides differently; whoever comes second starts from what is there."""
    await library.take(text="one")

    async def other_version():
        library.reader.meanwhile = None
        await library.ingestion().handle(library.newest())

    library.reader.meanwhile = other_version
    await library.ingestion().handle(library.newest())
    assert texts(library) == ["one"]
    assert len(library.events(DocumentIngested)) == 1


async def test_what_cannot_be_read_is_refused_once_and_told(library):
    standing = await library.take(name="a.pdf", text="%PDF-1.4 but no PDF")
    await library.ingestion().handle(library.newest())
    await library.take(name="a.pdf", text="%PDF-1.4 but no PDF")
    (refused,) = library.events(DocumentRefused)
    assert refused.reason == "damaged"
    told = await library.documents().standing("acme", "atlas", standing.document_id)
    assert (told.state, told.reason, told.is_settled) == ("refused", "damaged", True)
    assert told.detail == refused.detail


async def test_a_document_that_is_too_large_is_refused_without_its_content(library):
    documents = library.documents(most_bytes=3)
    for _ in range(2):
        standing = await documents.take(
            "acme", "atlas", "a.md", b"four", media_type="text/markdown", by=ANA
        )
        assert (standing.state, standing.reason) == ("refused", "too_large")
    assert len(library.events()) == 1
    assert library.bodies.bodies == {}
    standing = await library.take(text="four")  # the limit was raised
    assert standing.state == "received"


async def test_an_offer_tells_whether_the_content_is_wanted(library):
    documents = library.documents()
    offer = {"name": "a.md", "sha256": "ab" * 32, "size": 3, "by": ANA}
    assert (await documents.offer("acme", "atlas", **offer)).state == "wanted"
    assert library.events() == []
    standing = await library.take(text="abc")
    offer["sha256"] = library.events()[0].body.sha256
    known = await documents.offer("acme", "atlas", **offer)
    assert (known.state, known.document_id) == ("received", standing.document_id)


async def test_a_forgotten_document_is_new_when_it_is_handed_in_again(library):
    standing = await library.take(text="abc")
    await library.ingestion().handle(library.newest())
    documents = library.documents()
    forgotten = await documents.forget("acme", "atlas", standing.document_id, reason="x", by=ANA)
    assert forgotten.state == "forgotten"
    with pytest.raises(UnknownDocument):
        await documents.forget("acme", "atlas", standing.document_id, reason="", by=ANA)
    assert (await library.take(text="abc")).is_new
    await library.ingestion().handle(library.newest())
    assert texts(library) == ["abc", "abc"]


async def test_a_document_that_is_forgotten_while_it_is_read_stays_forgotten(library):
    standing = await library.take(text="abc")
    library.reader.meanwhile = lambda: library.documents().forget(
        "acme", "atlas", standing.document_id, reason="", by=ANA
    )
    await library.ingestion().handle(library.newest())
    assert texts(library) == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a", "a/../../b", "a\nb", "x" * 1_025, "."])
async def test_a_name_that_is_no_relative_path_is_not_taken(library, name):
    with pytest.raises(InvalidDocument):
        await library.take(name=name)
    assert library.events() == []


async def test_documents_belong_to_an_agent_that_there_is(library):
    with pytest.raises(UnknownAgent):
        await library.documents().take(
            "acme", "nobody", "a.md", b"x", media_type="text/markdown", by=ANA
        )


@pytest.mark.parametrize("id_", ["none", "", "x" * 99, "a.b"])
async def test_a_document_that_there_is_not_is_unknown(library, id_):
    with pytest.raises(UnknownDocument):
        await library.documents().standing("acme", "atlas", id_)


async def test_another_name_is_another_document_with_the_same_passages(library):
    first, second = await library.take("a.md", "same"), await library.take("b.md", "same")
    assert first.document_id != second.document_id
