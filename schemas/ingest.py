"""Facts about a document that an agent can search: what came in, and what is in it now.

Subject:  evt.{tenant}.{agent}._._.ingest.{document id}; the id is derived from the name
Order:    document_received; then document_split, chunks_stored and chunks_removed in any number,
          and document_ingested; or document_refused. A document_received may follow at any time
          and begins this anew: the newest one counts. document_forgotten removes everything
          before it.
Writer:   services.api and services.ingest take documents in; services.ingest reads them
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.json import Decoder

from schemas.base import BodyRef, DocumentId, Event, EventId, Sha256

DocumentName = Annotated[
    str, Meta(min_length=1, max_length=1_024, description="Path that people know it by.")
]
Rank = Annotated[
    int, Meta(ge=1, description="Sorts the chunks of a document; without a meaning of its own.")
]
Refusal = Literal[
    "binary", "damaged", "empty", "encrypted", "link", "no_text", "not_a_file", "too_large"
]


class Chunk(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One passage of a document."""

    sha256: Sha256
    """Of `text` in UTF-8; a document holds a text once."""
    rank: Rank
    text: str
    heading: str = ""
    """The headings above it, outermost first, joined by ` > `; or the page of a PDF."""


class DocumentReceived(Event, tag="document_received"):
    """Somebody handed in a document, new or with other content than before."""

    document_id: DocumentId
    name: DocumentName
    body: BodyRef


class DocumentSplit(Event, tag="document_split"):
    """Its text was found and divided; what follows is the difference to what was stored."""

    document_id: DocumentId
    received: EventId
    """The `document_received` whose content this is, as everywhere here."""
    chunks: int
    """How many passages it has."""
    to_store: int
    """How many of them are new, or stand elsewhere than before."""


class ChunksStored(Event, tag="chunks_stored"):
    """Passages can be found from now on; one with a known hash takes the place of the old one."""

    document_id: DocumentId
    received: EventId
    chunks: tuple[Chunk, ...]


class ChunksRemoved(Event, tag="chunks_removed"):
    """Passages are no longer in the document."""

    document_id: DocumentId
    received: EventId
    chunks: tuple[Sha256, ...]


class DocumentIngested(Event, tag="document_ingested"):
    """What can be found is exactly what the document says."""

    document_id: DocumentId
    received: EventId
    chunks: int


class DocumentRefused(Event, tag="document_refused"):
    """The document cannot be read; what was stored of an earlier content stays."""

    document_id: DocumentId
    name: DocumentName
    reason: Refusal
    detail: str
    """What is wrong, and what to do about it, for people."""
    received: EventId | None = None
    """None where the content was not even taken in."""
    content_sha256: Sha256 | None = None
    """Where it was read at all. Not called as in a reference: there may be no such body."""
    content_bytes: int = 0


class DocumentForgotten(Event, tag="document_forgotten"):
    """Nothing of the document is found any more; handed in again, it is new."""

    document_id: DocumentId
    reason: str = ""


IngestEvent: TypeAlias = (
    DocumentReceived
    | DocumentSplit
    | ChunksStored
    | ChunksRemoved
    | DocumentIngested
    | DocumentRefused
    | DocumentForgotten
)
INGEST_EVENTS: Decoder[IngestEvent] = Decoder(IngestEvent)
