"""Which bodies go into an export with an event."""

import pytest

from schemas.base import BodyRef, DocumentId, EventId
from schemas.envelope import encode, seal
from schemas.ingest import Chunk, ChunksStored, DocumentReceived, DocumentRefused
from services.projector.exporting import references
from services.runtime.recording import record

SHA = "ab" * 32
BODY = BodyRef(sha256=SHA, bytes=7, media_type="text/markdown")
ID = DocumentId("d-1")


@pytest.mark.parametrize(
    ("event", "bodies"),
    [
        (DocumentReceived(document_id=ID, name="a.md", body=BODY), [BODY]),
        (
            DocumentRefused(
                document_id=ID,
                name="a.md",
                reason="too_large",
                detail="split it",
                content_sha256=SHA,
                content_bytes=7,
            ),
            [],
        ),
        (
            ChunksStored(
                document_id=ID,
                received=EventId("r"),
                chunks=(Chunk(sha256=SHA, rank=1, text="hello"),),
            ),
            [],
        ),
    ],
)
def test_a_document_goes_with_its_content_and_with_no_body_that_was_never_kept(event, bodies):
    envelope = seal(event, id=EventId("e"), at=1, actor="test")
    recorded = record(1, "evt.acme.atlas._._.ingest.d-1", encode(envelope))
    assert list(references(recorded)) == bodies
