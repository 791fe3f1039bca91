"""What follows from what was read of a document.

Consumes:  document_received, and what was stored of it since
Emits:     document_split, chunks_stored, chunks_removed, document_ingested, document_refused
Never:     reads a file, waits, or stores a passage again that stands where it stood

Which passages are new, and their ranks, follow from what could be found when the content was handed
in. So a process that takes over in the middle comes to the same rows, and stores what is missing.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from schemas.base import DocumentId, EventId, Sha256
from schemas.ingest import (
    Chunk,
    ChunksRemoved,
    ChunksStored,
    DocumentIngested,
    DocumentRefused,
    DocumentSplit,
    IngestEvent,
)
from services.ingest.passage import Passage, Unreadable
from services.runtime.document import Document, Place

STEP: Final = 1 << 20  # between neighbours of a new document: room for twenty insertions in a row
BATCH_BYTES: Final = 49_152  # of passages in one event, encoded; three quarters of what it may have
REMOVED: Final = 700  # hashes in one event, 67 bytes each


def decide(document: Document, read: Sequence[Passage] | Unreadable) -> list[IngestEvent]:
    """Return what is still to be said about a document's newest content, in order.

    Args:
        document: Its fold, not settled.
        read: Its passages in their order, or why there are none.
    """
    received, id_ = document.received, document.received_id
    if received is None or id_ is None or document.is_settled:
        return []
    if isinstance(read, Unreadable):
        refused = DocumentRefused(
            document_id=received.document_id,
            name=received.name,
            reason=read.reason,
            detail=read.detail,
            received=id_,
            content_sha256=received.body.sha256,
            content_bytes=received.body.bytes,
        )
        return [refused]
    return list(_changes(document, received.document_id, id_, read))


def _changes(
    document: Document, document_id: DocumentId, received: EventId, read: Sequence[Passage]
) -> Iterator[IngestEvent]:
    once = {passage.sha256: passage for passage in reversed(read)}  # the first of equal ones
    passages = [passage for passage in read if once.pop(passage.sha256, None) is not None]
    ranks = ranked([passage.sha256 for passage in passages], document.before)
    chunks = [
        Chunk(
            sha256=passage.sha256,
            rank=ranks[passage.sha256],
            text=passage.text,
            heading=passage.heading,
        )
        for passage in passages
    ]
    changed = [chunk for chunk in chunks if document.before.get(chunk.sha256) != _place(chunk)]
    if document.state == "received":
        yield DocumentSplit(
            document_id=document_id,
            received=received,
            chunks=len(chunks),
            to_store=len(changed),
        )
    missing = [chunk for chunk in changed if document.passages.get(chunk.sha256) != _place(chunk)]
    for batch in _batches(missing):
        yield ChunksStored(document_id=document_id, received=received, chunks=batch)
    gone = sorted(document.passages.keys() - ranks.keys())
    for start in range(0, len(gone), REMOVED):
        some = tuple(gone[start : start + REMOVED])
        yield ChunksRemoved(document_id=document_id, received=received, chunks=some)
    yield DocumentIngested(document_id=document_id, received=received, chunks=len(chunks))


def ranked(order: Sequence[Sha256], before: Mapping[Sha256, Place]) -> dict[Sha256, int]:
    """Return a rank for each of `order`, ascending; those that stay in order keep theirs."""
    anchors = _ascending([(sha256, before[sha256][0]) for sha256 in order if sha256 in before])
    ranks: dict[Sha256, int] = {}
    between: list[Sha256] = []
    low = 0
    for sha256 in order:
        high = anchors.get(sha256)
        if high is None:
            between.append(sha256)
            continue
        if high - low <= len(between):  # no room left: all of it anew
            return {each: STEP * number for number, each in enumerate(order, start=1)}
        ranks |= _spread(between, low, high)
        ranks[sha256], low, between = high, high, []
    return ranks | _spread(between, low, low + STEP * (len(between) + 1))


def _spread(between: Sequence[Sha256], low: int, high: int) -> dict[Sha256, int]:
    parts = len(between) + 1
    return {
        sha256: low + (high - low) * number // parts
        for number, sha256 in enumerate(between, start=1)
    }


def _ascending(ranked: Sequence[tuple[Sha256, int]]) -> dict[Sha256, int]:
    """Return a longest selection whose ranks ascend."""
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for index, (_, rank) in enumerate(ranked):
        at = bisect_left(tails, rank)
        previous.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [rank]
        ends[at : at + 1] = [index]
    chosen: list[tuple[Sha256, int]] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        chosen.append(ranked[index])
        index = previous[index]
    return dict(reversed(chosen))


def _place(chunk: Chunk) -> Place:
    return chunk.rank, chunk.heading


def _batches(chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, ...]]:
    """Yield chunks in order, as many at once as one event holds."""
    batch: list[Chunk] = []
    size = 0
    for chunk in chunks:
        bytes_ = len(msgspec.json.encode(chunk)) + 1
        if batch and size + bytes_ > BATCH_BYTES:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(chunk)
        size += bytes_
    if batch:
        yield tuple(batch)
