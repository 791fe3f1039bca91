"""Events of documents that were taken in."""

from schemas.base import BodyRef, DocumentId, EventId
from schemas.ingest import Chunk, ChunksStored, DocumentIngested, DocumentReceived, DocumentSplit
from services.runtime.bodies import reference


def chunks(*texts, heading="Rules"):
    return tuple(
        Chunk(sha256=sha_of(text), rank=rank, text=text, heading=heading)
        for rank, text in enumerate(texts, start=1)
    )


def sha_of(text):
    return reference(text.encode()).sha256


def ingested(*texts, id_="d-1", name="handbook.md", heading="Rules"):
    mine = {"document_id": DocumentId(id_), "received": EventId("r")}
    body = BodyRef(sha256="ab" * 32, bytes=7, media_type="text/markdown")
    return (
        DocumentReceived(document_id=DocumentId(id_), name=name, body=body),
        DocumentSplit(**mine, chunks=len(texts), to_store=len(texts)),
        ChunksStored(**mine, chunks=chunks(*texts, heading=heading)),
        DocumentIngested(**mine, chunks=len(texts)),
    )
