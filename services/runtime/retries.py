"""Deliveries that were given up, handled again when a person asks for it.

A parked event is still in the log; only its consumer has moved on. So a retry is an event that the
consumer's own service takes in: it reads the parked event and hands it to the same handler.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from schemas.dead import DeliveryParked, DeliveryRetried
from schemas.subjects import matching, parse
from services.errors import Permanent
from services.runtime import ids
from services.runtime.event_log import Delivery, Handler, Recorded
from services.runtime.sweep import REDELIVERED
from services.runtime.telemetry.context import handling
from services.runtime.writer import Writer

PATTERN: Final = matching(entity="dead")
TYPES: Final = frozenset({"delivery_retried"})


class Retries:
    """Hands parked events of one service's consumers to their handlers again."""

    def __init__(
        self, service: str, handlers: Mapping[str, Handler], writer: Writer, stopping: asyncio.Event
    ) -> None:
        """Take the handlers by the name of the durable consumer that each belongs to."""
        self._durable = f"{service}_retries"  # names our read position in the log: never rename
        self._handlers = handlers
        self._writer = writer
        self._stopping = stopping

    async def run(self) -> None:
        """Consume until asked to stop."""
        await self._writer.log.consume(
            self._durable, [PATTERN], self.handle, types=TYPES, stop=self._stopping
        )

    async def handle(self, delivery: Delivery) -> None:
        """Handle a parked event again; what cannot be handled now either is parked again.

        Raises:
            Transient: the delivery should come again.
        """
        retried = await self._asked_for(delivery.recorded)
        handler = self._handlers.get(retried.durable) if retried else None
        if retried is None or handler is None:
            return  # another service's
        parked = await self._read(retried.subject, retried.seq)
        try:
            if parked is None or parked.problem is not None:
                problem = parked.problem if parked else "it is not in the log"
                raise Permanent(f"cannot be decoded: {problem}")  # noqa: TRY301 - parked like others
            # Whoever parked it holds nothing any more: what it had begun may be taken over.
            with handling(parked.envelope):
                await handler(Delivery(parked, REDELIVERED))
        except Permanent as error:
            await self._park_again(delivery.recorded, retried, str(error))

    async def _asked_for(self, recorded: Recorded) -> DeliveryRetried | None:
        """Return what is to be handled again, also where our own try at it was parked."""
        event = recorded.event
        while isinstance(event, DeliveryRetried) and event.durable == self._durable:
            before = await self._read(event.subject, event.seq)
            event = before.event if before else None
        return event if isinstance(event, DeliveryRetried) else None

    async def _read(self, subject: str, seq: int) -> Recorded | None:
        async for recorded in self._writer.log.read(subject, after=seq - 1, until=seq, fresh=True):
            return recorded
        return None

    async def _park_again(self, asked: Recorded, retried: DeliveryRetried, reason: str) -> None:
        event = DeliveryParked(
            durable=retried.durable,
            subject=retried.subject,
            seq=retried.seq,
            reason=reason[:1_000],
            attempts=REDELIVERED,
        )
        id_ = ids.derived("parked again", retried.durable, str(asked.seq))
        envelope = self._writer.seal(event, id=id_, cause=asked.envelope.id)
        subject = str(parse(retried.subject).of("dead"))
        await self._writer.append_once(subject, envelope, since=asked.seq)
