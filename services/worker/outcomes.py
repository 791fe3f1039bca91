"""Tell tasks how their workers ended.

Consumes:  worker_concluded
Emits:     task_attempt_ended, once for each worker that was at work on a task
Never:     judges what a worker did
"""

import asyncio

from schemas.channel import WorkerConcluded
from schemas.subjects import matching, parse
from services.runtime.event_log import Delivery
from services.runtime.tasks.desk import Desk, Owner
from services.runtime.writer import Writer

DURABLE = "task_outcomes"  # names our read position in the log: never rename


class TaskOutcomes:
    """Any number of replicas share the work."""

    def __init__(self, writer: Writer, desk: Desk, stopping: asyncio.Event) -> None:
        self._log = writer.log
        self._desk = desk
        self._stopping = stopping

    async def run(self) -> None:
        """Consume the ends of workers until asked to stop."""
        await self._log.consume(
            DURABLE,
            [matching(entity="channel")],
            self.handle,
            types=frozenset({"worker_concluded"}),
            stop=self._stopping,
        )

    async def handle(self, delivery: Delivery) -> None:
        """Keep how a worker ended; safe to repeat for the same event.

        The start of an attempt is on the log before its worker is asked for, so a run that the
        log knows no task of is not about one.

        Raises:
            LogUnavailable, LogFull: the delivery should come again.
        """
        event, recorded = delivery.recorded.event, delivery.recorded
        if not isinstance(event, WorkerConcluded):
            return
        place = parse(recorded.subject)
        await self._desk.end_attempt(
            Owner(place.tenant, place.agent or ""),
            event.run_id,
            event.outcome,
            event.result,
            recorded.envelope.id,
        )
