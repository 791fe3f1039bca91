"""What every event travels in: who caused it, when, and as part of which turn."""

from typing import Final

from msgspec import DecodeError, Raw, Struct, json

from schemas.base import Event, EventId, Microseconds, RunId

MAX_EVENT_BYTES: Final = 65_536  # one event, encoded; larger bodies go to the object store
TYPE_HEADER: Final = "Penstock-Type"
UNREADABLE: Final = (UnicodeDecodeError, RecursionError)
"""What msgspec raises beside `DecodeError`: for bytes that are no text, and for endless nesting."""


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as it is stored."""

    id: EventId
    type: str
    """The tag of `data`, so that readers can skip what they do not know."""
    v: int = 1
    """Version of the shape of `data`; see upcast.py."""
    at: Microseconds
    actor: str
    """Who appended it: `person:ana`, `channel`, `worker`, …"""
    cause: EventId | None = None
    """The event that led to this one."""
    turn: RunId | None = None
    """The turn that it belongs to: the correlation id."""
    traceparent: str | None = None
    """W3C trace context, repeated in the message's header."""
    data: Raw


_DECODE = json.Decoder(Envelope).decode
_ENCODE = json.Encoder().encode


def tag_of(event: Event) -> str:
    """Return the event's tag, its type on the wire."""
    return str(event.__struct_config__.tag)


def seal(  # noqa: PLR0913 - the envelope has these fields
    event: Event,
    *,
    id: EventId,  # noqa: A002 - the envelope's word
    at: Microseconds,
    actor: str,
    cause: EventId | None = None,
    turn: RunId | None = None,
    traceparent: str | None = None,
    version: int = 1,
) -> Envelope:
    """Put `event` into its envelope."""
    return Envelope(
        id=id,
        type=tag_of(event),
        v=version,
        at=at,
        actor=actor,
        cause=cause,
        turn=turn,
        traceparent=traceparent,
        data=Raw(_ENCODE(event)),
    )


def encode(envelope: Envelope) -> bytes:
    """Return the envelope as it is stored."""
    return _ENCODE(envelope)


def decode(body: bytes) -> Envelope:
    """Return the envelope in `body`.

    Raises:
        msgspec.DecodeError: it is not an envelope.
    """
    try:
        return _DECODE(body)
    except UNREADABLE as error:
        raise DecodeError(str(error)) from error
