"""One document as its stream tells it: what was handed in last, and which passages there are."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from schemas.base import DocumentId, EventId, Sha256
from schemas.ingest import (
    ChunksRemoved,
    ChunksStored,
    DocumentForgotten,
    DocumentIngested,
    DocumentReceived,
    DocumentRefused,
    DocumentSplit,
    IngestEvent,
)
from schemas.subjects import Subject
from services.runtime import ids
from services.runtime.event_log import Recorded

DocumentState = Literal["unknown", "received", "split", "ingested", "refused", "forgotten"]
Place: TypeAlias = tuple[int, str]
"""Rank and heading of a passage."""


def document_id(tenant: str, agent: str, name: str) -> DocumentId:
    """Return the id of the document of this name: another content does not change it."""
    return DocumentId(ids.derived("document", tenant, agent, name))


def document_subject(tenant: str, agent: str, id_: str) -> str:
    """Return the subject of a document's events."""
    return str(Subject(tenant, agent, entity="ingest", id=id_))


@dataclass(slots=True)
class Document:
    """The fold of a document's stream; it grows by one event at a time."""

    state: DocumentState = "unknown"
    name: str = ""
    received: DocumentReceived | None = None
    """The newest content; None where none was taken in, or it was forgotten."""
    received_id: EventId | None = None
    sha256: Sha256 | None = None
    """Of the newest content that was handed in, also where it was not taken in."""
    reason: str = ""
    """Why it was refused, as a code; empty where it was not."""
    detail: str = ""
    chunks: int = 0
    """How many passages the newest content has, once that is known."""
    to_store: int = 0
    stored: int = 0
    """How many of `to_store` are stored."""
    passages: dict[Sha256, Place] = field(default_factory=dict)
    """What can be found now."""
    before: dict[Sha256, Place] = field(default_factory=dict)
    """What could be found when the newest content was handed in."""
    seq: int = 0
    """Last sequence of the stream."""

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing more is to be done with what was handed in."""
        return self.state not in {"received", "split"}

    def add(self, recorded: Recorded) -> None:
        """Take in the next event of the stream."""
        self.seq = recorded.seq
        event = recorded.event
        if isinstance(event, IngestEvent):
            self._add(event, recorded.envelope.id)

    def _add(self, event: IngestEvent, id_: EventId) -> None:
        match event:
            case DocumentReceived(name=name, body=body):
                self.state, self.name, self.received = "received", name, event
                self.received_id, self.sha256 = id_, body.sha256
                self.reason = self.detail = ""
                self.chunks = self.to_store = self.stored = 0
                self.before = dict(self.passages)
            case DocumentSplit(chunks=chunks, to_store=to_store):
                self.state, self.chunks, self.to_store = "split", chunks, to_store
            case ChunksStored(chunks=stored):
                self.passages |= {each.sha256: (each.rank, each.heading) for each in stored}
                self.stored += len(stored)
            case ChunksRemoved(chunks=removed):
                for sha256 in removed:
                    self.passages.pop(sha256, None)
            case DocumentIngested(chunks=chunks):
                self.state, self.chunks, self.before = "ingested", chunks, {}
            case DocumentRefused(name=name, content_sha256=sha256):
                self.state, self.name, self.sha256 = "refused", name, sha256
                self.reason, self.detail, self.before = event.reason, event.detail, {}
            case DocumentForgotten():
                self.state, self.received, self.received_id = "forgotten", None, None
                self.sha256, self.passages, self.before = None, {}, {}
                self.reason = self.detail = ""
                self.chunks = self.to_store = self.stored = 0
