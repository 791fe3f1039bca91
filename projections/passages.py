"""Passages: what documents say, found by words and meaning; and which documents there are.

Grain:    one row per document, forgotten ones included; one per passage that is in a document now
Source:   every event of schemas.ingest
Read by:  document_search, recall, document pages, penstock documents
Rebuild:  any time
"""

from collections.abc import Collection, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final, Literal

import msgspec

from projections._recorded import Recorded, place
from projections._sql import FUSION, Conn, load, rows
from projections._statement import Folded, Merge, Row, Statement, storable, to_json
from projections.memories import Meaning
from projections.vectors import encode
from schemas.base import DocumentId, Sha256
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

NAME = "passages"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("passages.sql", shared=FUSION)
TABLES = ("documents", "passages")

NEWEST: Final = 2**63 - 1  # behind every sequence
CANDIDATES: Final = 500  # passages of each kind that a search compares
TERMS: Final = 16  # different words of a question that count
SLICE: Final = 2_000  # passages in one command: a few megabytes

DocumentState = Literal["received", "split", "ingested", "refused", "forgotten"]


class Passages:
    """Rows that are replaced or removed as a whole; the last change of one is what counts."""

    _document = itemgetter("tenant", "agent", "document_id")

    def fold(self, rows: Folded, row: Row) -> None:
        """Put the change in place of an earlier one; without a passage, of all of its document."""
        document = self._document(row)
        if row["sha256"] is None:
            for key in [key for key, known in rows.items() if self._document(known) == document]:
                del rows[key]
        rows[*document, row["sha256"]] = row

    async def write(self, conn: Conn, rows: Collection[Row]) -> None:
        """Remove what is gone or will be replaced, then insert; documents before their passages."""
        for write, group in groupby(sorted(rows, key=_order), key=_order):
            wanted = list(group)
            for start in range(0, len(wanted), SLICE):
                some = to_json(wanted[start : start + SLICE])
                await conn.execute(SQL[_WRITES[write]], {"rows": some})


_WRITES: Final = ("remove_documents", "remove", "put")


def _order(row: Row) -> int:
    """Return which of `_WRITES` a change needs."""
    if row["sha256"] is None:
        return 0
    return 1 if row["text"] is None else 2


DOCUMENTS = Merge(
    "documents",
    key=("tenant", "agent", "document_id"),
    first=(),
    last=(
        *("name", "sha256", "bytes", "media_type", "state", "reason", "detail"),
        *("chunks", "received_at", "changed_at", "seq"),
    ),
)
PASSAGES = Passages()
TARGETS = (DOCUMENTS, PASSAGES)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `documents`; times in UTC microseconds."""

    agent: str
    document_id: DocumentId
    name: str
    sha256: Sha256 | None
    """Of the newest content; None where it was not even read."""
    bytes: int
    media_type: str
    state: DocumentState
    reason: str
    """A code, where it was refused; otherwise empty."""
    detail: str
    chunks: int
    """Passages that it has, or that were found in what is being stored."""
    received_at: int
    changed_at: int
    seq: int


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `passages`, with the name of its document."""

    agent: str
    document_id: DocumentId
    id: str
    name: str
    rank: int
    """Sorts the passages of a document."""
    heading: str
    text: str
    sha256: Sha256
    created_at: int


class Found(Passage, frozen=True, kw_only=True):
    """A passage that was found, and why; ranks from 1, None where that did not find it."""

    score: float = 0.0
    """From 0 to 1, and as much as the same score of a memory."""
    text_rank: int | None = None
    vector_rank: int | None = None


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the document's row, and those of its passages."""
    event, at = recorded.event, recorded.envelope.at
    if not isinstance(event, IngestEvent):
        return
    where = place(recorded.subject)
    key: Row = {
        "tenant": where.tenant,
        "agent": where.agent or "",
        "document_id": event.document_id,
    }
    changed = {**_document(event, at), "changed_at": at, "seq": recorded.seq}
    yield Statement(DOCUMENTS, {**key, **changed})
    for passage in _passages(event, at, recorded.seq):
        yield Statement(PASSAGES, {**key, **passage})


def _document(event: IngestEvent, at: int) -> Row:
    """Return what an event changes in its document's row."""
    match event:
        case DocumentReceived(name=name, body=body):
            row: Row = {"name": name, "sha256": body.sha256, "bytes": body.bytes}
            row |= {"media_type": body.media_type, "state": "received", "received_at": at}
            return row | {"reason": "", "detail": "", "chunks": 0}
        case DocumentSplit(chunks=chunks):
            return {"state": "split", "chunks": chunks}
        case DocumentIngested(chunks=chunks):
            return {"state": "ingested", "chunks": chunks}
        case DocumentRefused(name=name, reason=reason, detail=detail):
            row = {"name": name, "state": "refused", "reason": reason, "detail": detail}
            row |= {"sha256": event.content_sha256, "bytes": event.content_bytes}
            taken_in = event.received is not None
            return row if taken_in else {**row, "received_at": at, "media_type": "", "chunks": 0}
        case DocumentForgotten(reason=reason):
            return {"state": "forgotten", "reason": "", "detail": reason, "chunks": 0}
        case ChunksStored() | ChunksRemoved():
            return {}


def _passages(event: IngestEvent, at: int, seq: int) -> Iterator[Row]:
    """Yield what an event puts in the place of passages, or of all of a document's."""
    match event:
        case ChunksStored(chunks=stored):
            for chunk in stored:
                row: Row = {"sha256": chunk.sha256, "rank": chunk.rank, "heading": chunk.heading}
                yield {**row, "text": chunk.text, "created_at": at, "seq": seq}
        case ChunksRemoved(chunks=removed):
            for sha256 in removed:
                yield {"sha256": sha256, "text": None}
        case DocumentForgotten():
            yield {"sha256": None, "text": None}
        case _:
            pass


async def search(
    conn: Conn,
    tenant: str,
    agent: str,
    query: str,
    *,
    meaning: Meaning | None = None,
    limit: int = 10,
) -> list[Found]:
    """Return the passages that answer `query` best; what several documents say, once.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        tenant: Whose documents.
        agent: The agent that asks.
        query: Words or a question. Any of its words is enough, rare ones count more.
        meaning: The query as a vector; None to search by words alone.
        limit: Most passages to return.
    """
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "query": storable(query),
        "vector": None if meaning is None else encode(meaning.vector),
        "model": None if meaning is None else meaning.model,
        "most": CANDIDATES,
        "most_terms": TERMS,
        "limit": limit,
    }
    return await rows(conn, Found, SQL["search"], parameters)


async def of_document(
    conn: Conn, tenant: str, agent: str, document_id: str, *, limit: int = 1_000
) -> list[Passage]:
    """Return a document's passages in their order, at most `limit`."""
    parameters: dict[str, object] = {"tenant": tenant, "agent": agent, "limit": limit}
    parameters["document_id"] = document_id
    return await rows(conn, Passage, SQL["of_document"], parameters)


async def documents(
    conn: Conn, tenant: str, agent: str, *, before: int = NEWEST, limit: int = 50
) -> list[Document]:
    """Return documents whose `seq` is below `before`, last changed first; no forgotten ones."""
    parameters = {"tenant": tenant, "agent": agent, "before": before, "limit": limit}
    return await rows(conn, Document, SQL["documents"], parameters)
