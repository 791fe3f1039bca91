"""Put events into envelopes and onto the log, once each, however often it is tried."""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from schemas.base import Event, EventId, RunId
from schemas.catalogue import version_of
from schemas.envelope import Envelope, seal, tag_of
from services.errors import Conflict
from services.runtime import ids
from services.runtime.clock import Clock
from services.runtime.event_log import EventLog
from services.runtime.telemetry.context import header_of_new


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes in the name of one service."""

    log: EventLog
    clock: Clock
    actor: str
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, repr=False, compare=False
    )

    def seal(
        self,
        event: Event,
        *,
        id: EventId | None = None,  # noqa: A002 - the envelope's word
        cause: EventId | None = None,
        turn: RunId | None = None,
        actor: str | None = None,
        traceparent: str | None = None,
    ) -> Envelope:
        """Return `event` in an envelope of now; a new id unless one is given."""
        id_ = id or ids.event_id()
        return seal(
            event,
            id=id_,
            at=self.clock.now(),
            actor=actor or self.actor,
            cause=cause,
            turn=turn,
            traceparent=traceparent or header_of_new(id_),
            version=version_of(tag_of(event)),
        )

    async def append_once(self, subject: str, envelope: Envelope, *, since: int) -> int:
        """Append an event whose id is derived, unless the log has it; return its sequence.

        Args:
            subject: Where to.
            envelope: What; its id is the same at every try.
            since: A sequence before which it cannot have been stored, as that of its cause.

        Raises:
            LogUnavailable, LogFull: nothing is known of it, or it was refused.
        """
        lock = self._locks.setdefault(subject, asyncio.Lock())
        async with lock:  # every conflict costs reads: we do not compete with ourselves
            return await self._append_once(subject, envelope, since)

    async def _append_once(self, subject: str, envelope: Envelope, since: int) -> int:
        last = 0
        while True:
            async for recorded in self.log.read(subject, after=max(since, last), fresh=True):
                if recorded.envelope.id == envelope.id:
                    return recorded.seq
                last = recorded.seq
            if last == 0:
                newest = await self.log.last(subject, fresh=True)
                last = newest.seq if newest else 0
            try:
                return await self.log.append_if(subject, last, envelope)
            except Conflict:
                since, last = max(since, last), 0  # the newest of it may have been erased
