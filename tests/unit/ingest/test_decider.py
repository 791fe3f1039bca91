"""Only what differs is stored and removed, and whoever goes on comes to the same."""

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from schemas.base import BodyRef, DocumentId, EventId
from schemas.envelope import MAX_EVENT_BYTES, encode, seal
from schemas.ingest import (
    ChunksRemoved,
    ChunksStored,
    DocumentForgotten,
    DocumentIngested,
    DocumentReceived,
    DocumentRefused,
    DocumentSplit,
)
from services.ingest.decider import STEP, decide, ranked
from services.ingest.passage import Passage, Unreadable
from services.runtime.document import Document
from services.runtime.recording import record

DOCUMENT = DocumentId("d-1")
SUBJECT = "evt.acme.atlas._._.ingest.d-1"


def passages(*texts: str, heading: str = "") -> list[Passage]:
    return [
        Passage(sha256=sha256(text.encode()).hexdigest(), text=text, heading=heading)
        for text in texts
    ]


class Told:
    """A document and everything that was said about it."""

    def __init__(self) -> None:
        self.document = Document()
        self.events = []

    def add(self, *events):
        for event in events:
            self.events.append(event)
            seq = len(self.events)
            envelope = seal(event, id=EventId(f"e{seq}"), at=seq, actor="test")
            self.document.add(record(seq, SUBJECT, encode(envelope)))

    def receive(self, mark="a"):
        body = BodyRef(sha256=sha256(mark.encode()).hexdigest(), bytes=1)
        self.add(DocumentReceived(document_id=DOCUMENT, name="a.md", body=body))

    def ingest(self, read, *, crash_after=None):
        """Say what follows, or the first of it; return it."""
        decided = decide(self.document, read)[:crash_after]
        self.add(*decided)
        return decided

    def texts(self):
        """Return what can be found, in order."""
        return sorted(self.document.passages, key=lambda sha256: self.document.passages[sha256])


def hashes(read):
    return [passage.sha256 for passage in read]


def stored(decided):
    return [c.text for event in decided if isinstance(event, ChunksStored) for c in event.chunks]


def removed(decided):
    return [c for event in decided if isinstance(event, ChunksRemoved) for c in event.chunks]


def ingested(*texts):
    told = Told()
    told.receive()
    told.ingest(passages(*texts))
    return told


def test_a_new_document_is_stored_in_its_order():
    told = Told()
    told.receive()
    decided = told.ingest(passages("one", "two"))
    assert [type(event) for event in decided] == [DocumentSplit, ChunksStored, DocumentIngested]
    assert (decided[0].chunks, decided[0].to_store) == (2, 2)
    assert [(c.text, c.rank) for c in decided[1].chunks] == [("one", STEP), ("two", 2 * STEP)]
    assert told.document.state == "ingested"


def test_of_a_changed_document_only_what_differs_is_stored_and_removed():
    told = ingested("one", "two", "three", "four")
    told.receive("b")
    decided = told.ingest(passages("one", "2", "three", "four"))
    assert stored(decided) == ["2"]
    assert removed(decided) == hashes(passages("two"))
    assert told.texts() == hashes(passages("one", "2", "three", "four"))


def test_what_is_only_moved_is_stored_at_its_new_place():
    told = ingested("one", "two", "three")
    told.receive("b")
    decided = told.ingest(passages("three", "one", "two"))
    assert stored(decided) == ["three"]
    assert removed(decided) == []
    assert told.texts() == hashes(passages("three", "one", "two"))


def test_a_passage_under_another_heading_is_stored_again():
    told = ingested("one", "two")
    told.receive("b")
    decided = told.ingest([*passages("one"), *passages("two", heading="Setup")])
    assert stored(decided) == ["two"]


def test_a_text_that_is_there_twice_is_stored_once():
    told = ingested("one", "two", "one")
    assert told.texts() == hashes(passages("one", "two"))


def test_a_document_that_says_the_same_as_before_changes_no_passage():
    told = ingested("one", "two")
    told.receive("b")
    decided = told.ingest(passages("one", "two"))
    assert [type(event) for event in decided] == [DocumentSplit, DocumentIngested]


def test_nothing_follows_once_a_document_is_settled():
    told = ingested("one")
    assert decide(told.document, passages("two")) == []
    told.add(DocumentForgotten(document_id=DOCUMENT))
    assert decide(told.document, passages("two")) == []


def test_what_cannot_be_read_is_refused_and_keeps_what_was_known():
    told = ingested("one")
    told.receive("b")
    (refused,) = told.ingest(Unreadable(reason="encrypted", detail="a password"))
    assert isinstance(refused, DocumentRefused)
    assert (refused.name, refused.reason, refused.received) == ("a.md", "encrypted", "e5")
    assert told.texts() == hashes(passages("one"))


def test_no_event_is_too_large():
    texts = [f"{number}" + "\u0001" * 1_490 for number in range(60)]
    told = Told()
    told.receive()
    decided = told.ingest(passages(*texts, heading="\u0001" * 300))
    told.receive("b")
    decided += told.ingest(passages("gone"))
    sizes = [len(encode(seal(e, id=EventId("x" * 36), at=2**60, actor="x"))) for e in decided]
    assert max(sizes) <= MAX_EVENT_BYTES
    many = ingested(*map(str, range(2_000)))
    many.receive("b")
    decided = many.ingest(passages("gone"))
    assert len(removed(decided)) == 2_000
    assert max(len(msgspec.json.encode(event)) for event in decided) < MAX_EVENT_BYTES


@pytest.mark.parametrize("edits", [5, 60])
def test_insertions_at_one_place_keep_the_order_also_when_there_is_no_room_left(edits):
    texts = ["first", "last"]
    told = ingested(*texts)
    for number in range(edits):
        texts.insert(1, f"new {number}")
        told.receive(f"{number}")
        told.ingest(passages(*texts))
        assert told.texts() == hashes(passages(*texts))


TEXTS = st.lists(st.sampled_from("abcdefghij"), max_size=12)


@given(TEXTS, st.lists(st.tuples(TEXTS, st.integers(0, 4)), max_size=5))
@settings(max_examples=300)
def test_after_any_history_a_document_holds_what_it_says_in_its_order(first, later):
    """Contents follow one another, some while the one before was only stored in part."""
    told = Told()
    for number, (content, crash_after) in enumerate([(first, None), *later]):
        told.receive(f"{number}")
        told.ingest(passages(*content), crash_after=crash_after)
    told.receive("last")
    told.ingest(passages(*first))
    once = list(dict.fromkeys(first))
    assert told.texts() == hashes(passages(*once))
    assert told.document.state == "ingested"


@given(TEXTS, TEXTS, st.integers(0, 6))
def test_whoever_takes_over_comes_to_the_same_rows(before, after, crash_after):
    undisturbed, disturbed = ingested(*before), ingested(*before)
    for told in (undisturbed, disturbed):
        told.receive("b")
    undisturbed.ingest(passages(*after))
    first = disturbed.ingest(passages(*after), crash_after=crash_after)
    second = disturbed.ingest(passages(*after))
    assert disturbed.document.passages == undisturbed.document.passages
    assert disturbed.events == undisturbed.events
    assert len(set(stored(first + second))) == len(stored(first + second))


def test_ranks_of_what_stays_in_order_stay():
    before = {name: (rank, "") for name, rank in zip("abcdef", range(10, 70, 10), strict=True)}
    assert ranked("abXcdf", before) == {"a": 10, "b": 20, "X": 25, "c": 30, "d": 40, "f": 60}
