"""Port to the log: append, compare-and-append, read, tail, consume.

One implementation on JetStream (`nats_log`), one fake for unit tests, one contract suite that both
pass. Order comes from the log, never from delivery; the only lock is `append_if`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from schemas.catalogue import AnyEvent
from schemas.envelope import Envelope

EVERYTHING: Final = "evt.>"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event of the log."""

    seq: int
    """Position in the whole log, from 1, without holes."""
    subject: str
    envelope: Envelope
    event: AnyEvent | None
    """None when its type is not known to this version, or when it is damaged."""
    body: bytes
    """The envelope as it is stored."""
    problem: str | None = None
    """Why it cannot be decoded, where it is damaged."""


@dataclass(frozen=True, slots=True)
class Append:
    """One event to store."""

    subject: str
    envelope: Envelope
    expected: int | None = None
    """Last sequence that the subject must have (0: none yet); None for any."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event handed to a service by a durable consumer."""

    recorded: Recorded
    attempt: int
    """1 for the first delivery of this event to this consumer."""

    @property
    def redelivered(self) -> bool:
        """Tell whether an earlier delivery ended without an acknowledgement."""
        return self.attempt > 1


Handler = Callable[[Delivery], Awaitable[None]]


class EventLog(Protocol):
    """The one stream of facts."""

    async def append(self, subject: str, envelope: Envelope) -> int:
        """Store an event and return its sequence; the same event id again is stored once.

        Raises:
            LogUnavailable: not acknowledged in time; it may or may not be stored.
            LogFull: refused for lack of space; not stored.
        """
        ...

    async def append_if(self, subject: str, expected: int, envelope: Envelope) -> int:
        """Store an event if `expected` is the subject's last sequence, and return its own.

        A lost acknowledgement is resolved inside: when the log already has this event, it won.

        Raises:
            Conflict: another writer was first; nothing was stored.
            LogUnavailable, LogFull: as for `append`.
        """
        ...

    async def append_batch(self, appends: Sequence[Append]) -> int:
        """Store all of these, in order and at once, or none; return the last one's sequence.

        Raises:
            Conflict: an expectation does not hold, or a part of them is stored already; nothing
                was stored.
            LogUnavailable, LogFull: as for `append`.
        """
        ...

    def read(
        self, pattern: str, *, after: int = 0, until: int | None = None, fresh: bool = False
    ) -> AsyncIterator[Recorded]:
        """Yield what the pattern selects with `after` < sequence <= `until`, in order.

        Args:
            pattern: A subject or a NATS filter.
            after: Sequence to start behind; 0 for the beginning.
            until: Last sequence wanted; None for as far as there is anything now.
            fresh: True to see everything that was ever acknowledged; otherwise the end may be
                missing where a replica lags.
        """
        ...

    async def last(self, pattern: str, *, fresh: bool = False) -> Recorded | None:
        """Return the newest event that the pattern selects, or None."""
        ...

    def tail(self, pattern: str, *, after: int = 0) -> AsyncIterator[Recorded]:
        """Yield what the pattern selects behind `after`, then wait for more, for ever."""
        ...

    async def consume(
        self,
        durable: str,
        patterns: Collection[str],
        handle: Handler,
        *,
        types: Collection[str] | None = None,
        concurrency: int = 64,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Hand every event to `handle` at least once, until stopped; replicas share the work.

        The delivery is kept alive while `handle` runs. It is acknowledged when `handle` returns or
        raises `Rejected`, repeated later after `Transient` and after a bug, and parked as a
        `delivery_parked` event after `Permanent` or when no repetition would help. Cancellation
        hands unfinished deliveries back at once.

        Args:
            durable: Names the shared read position; for ever.
            patterns: Subjects or filters, not overlapping.
            handle: May run twice for an event, and for several events at once.
            types: Event types wanted; others are acknowledged unseen. None for all.
            concurrency: Most deliveries in `handle` at once in this process.
            stop: When set, take nothing more, wait for what is in `handle`, and return.
        """
        ...
