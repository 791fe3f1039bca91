"""Tell what runs of jobs had to say, once, where they were asked to.

Consumes:  occurrence_ended
Emits:     result_delivered on the target's conversation; occurrence_delivered or delivery_refused
           on the job's own
"""

import asyncio
from typing import Final

from schemas.base import Content
from schemas.channel import ResultDelivered
from schemas.schedule import (
    DeliveryRefused,
    OccurrenceDelivered,
    OccurrenceEnded,
    ScheduleEvent,
)
from schemas.subjects import InvalidToken, Subject, parse
from services.errors import Permanent
from services.runtime import ids
from services.runtime.agents import Agents, UnknownAgent
from services.runtime.bodies import BodyStore, content, text_of
from services.runtime.event_log import Delivery
from services.runtime.jobs.job import FAILURES
from services.runtime.writer import Writer
from services.scheduler.board import PATTERN

DURABLE: Final = "scheduler_delivery"  # names our read position in the log: never rename
TYPES: Final = frozenset({"occurrence_ended"})
PARTIAL: Final = "{text}\n\n(This is partial: {reason}.)"
FAILED: Final = "The job {job} failed: {reason}."
TIMED_OUT: Final = "The job {job} came to nothing: {reason}."


class Deliveries:
    """Delivers; any number of replicas share the work."""

    def __init__(
        self,
        writer: Writer,
        bodies: BodyStore,
        agents: Agents,
        stopping: asyncio.Event,
    ) -> None:
        self._writer = writer
        self._bodies = bodies
        self._agents = agents
        self._stopping = stopping

    async def run(self) -> None:
        """Consume until asked to stop."""
        await self._writer.log.consume(
            DURABLE, [PATTERN], self.handle, types=TYPES, stop=self._stopping
        )

    async def handle(self, delivery: Delivery) -> None:
        """Deliver what one run had to say; safe to repeat.

        Raises:
            LogUnavailable, LogFull: the delivery should come again.
        """
        event = delivery.recorded.event
        if not isinstance(event, OccurrenceEnded):
            return
        subject = parse(delivery.recorded.subject)
        target, occurrence = event.deliver_to, event.occurrence
        if target is None:
            return
        text = await self._text(event, subject.conversation or "")
        if not text:
            return
        try:
            await self._agents.get(subject.tenant, subject.agent or "")
            there = str(Subject(subject.tenant, subject.agent, target.adapter, target.conversation))
        except (UnknownAgent, InvalidToken) as error:
            refused = DeliveryRefused(occurrence=occurrence, to=target, reason=str(error)[:1_000])
            await self._note(delivery, refused)
            return
        since = delivery.recorded.seq
        told_id = ids.derived("result delivered", occurrence)
        told = ResultDelivered(job=subject.conversation or "", occurrence=occurrence, text=text)
        envelope = self._writer.seal(told, id=told_id, cause=delivery.recorded.envelope.id)
        await self._writer.append_once(there, envelope, since=since)
        await self._note(
            delivery, OccurrenceDelivered(occurrence=occurrence, to=target, event=told_id)
        )

    async def _text(self, event: OccurrenceEnded, job: str) -> Content:
        """Return what is told: the run's own words, said to be partial where they are."""
        reason = event.reason.rstrip(".") or "it says no more"
        if event.outcome in FAILURES and not event.text:
            said = TIMED_OUT if event.outcome == "timed_out" else FAILED
            return await content(self._bodies, said.format(job=job, reason=reason))
        if event.outcome != "partial" or not event.text:
            return event.text
        try:
            text = await text_of(self._bodies, event.text)
        except Permanent:
            return event.text
        return await content(self._bodies, PARTIAL.format(text=text, reason=reason))

    async def _note(self, delivery: Delivery, event: ScheduleEvent) -> None:
        id_ = ids.derived("delivery noted", delivery.recorded.envelope.id)
        envelope = self._writer.seal(event, id=id_, cause=delivery.recorded.envelope.id)
        await self._writer.append_once(
            delivery.recorded.subject, envelope, since=delivery.recorded.seq
        )
