"""From stored bytes to a recorded event; damage is noted, never raised."""

import msgspec

from schemas.base import EventId
from schemas.catalogue import open_envelope
from schemas.envelope import Envelope, decode
from services.runtime.event_log import Recorded


def record(seq: int, subject: str, body: bytes) -> Recorded:
    """Return the event stored as `body`; a damaged one has no event but says what is wrong."""
    try:
        envelope = decode(body)
    except msgspec.DecodeError as error:
        nothing = Envelope(
            id=EventId(f"damaged-{seq}"), type="damaged", at=0, actor="?", data=msgspec.Raw(b"null")
        )
        return Recorded(seq, subject, nothing, None, body, problem=str(error))
    try:
        return Recorded(seq, subject, envelope, open_envelope(envelope), body)
    except msgspec.DecodeError as error:
        return Recorded(seq, subject, envelope, None, body, problem=str(error))
