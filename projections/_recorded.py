"""What a projection sees of the log: events in order, and where each of them belongs."""

from functools import lru_cache
from typing import Protocol

from schemas.catalogue import AnyEvent
from schemas.envelope import Envelope
from schemas.subjects import Subject, parse


class Recorded(Protocol):
    """One event of the log; the runtime's own class has this shape."""

    @property
    def seq(self) -> int:
        """Position in the whole log, from 1, without holes."""
        ...

    @property
    def subject(self) -> str:
        """Stream of facts that it belongs to, on the wire."""
        ...

    @property
    def envelope(self) -> Envelope:
        """Who caused it, when, as part of which turn."""
        ...

    @property
    def event(self) -> AnyEvent | None:
        """None when its type is not known to this version, or when it is damaged."""
        ...

    @property
    def body(self) -> bytes:
        """The envelope as it is stored."""
        ...


@lru_cache(maxsize=16_384)  # subjects repeat: a conversation's parts are decoded once
def place(subject: str) -> Subject:
    """Return the parts of a subject on the wire.

    Raises:
        InvalidToken: it is not one of ours.
    """
    return parse(subject)
