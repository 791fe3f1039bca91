"""Summarise each local day once, after its midnight, however many replicas and outages there are.

Consumes:  activity and memories of days that are over
Emits:     day_summarised
Never:     calls a model; writes anything for a day on which nothing happened
"""

from typing import Final

from projections.activity import Pulse
from schemas.cortex import DaySummarised
from schemas.subjects import matching
from services.cortex.reading import Around
from services.cortex.rollup import GRACE_S, Span, next_day, summarise
from services.errors import Conflict
from services.runtime import days, ids
from services.runtime.briefings import subject_of
from services.runtime.config import CortexSettings
from services.runtime.event_log import Recorded
from services.runtime.writer import Writer

MOST: Final = 500  # things of a day that are looked at


class DaysKept:
    """Keeps what is worth keeping of each day."""

    name = "days"

    def __init__(self, writer: Writer, around: Around, settings: CortexSettings) -> None:
        self._writer = writer
        self._around = around
        self._zone_name = settings.time_zone
        self._zone = days.zone(settings.time_zone)

    def depends_on(self, pulse: Pulse, now: int) -> object:
        """Return the last event and which day is over for certain."""
        return pulse.seq, days.day_of(now - GRACE_S * days.MICROSECONDS, self._zone)

    async def look(self, pulse: Pulse, now: int) -> bool:
        """Summarise every day that is over and was not."""
        subject = str(subject_of(pulse.tenant, pulse.agent, "days"))
        newest = await self._writer.log.last(subject, fresh=True)
        complete = False
        while (span := await self._next(pulse, newest, now)) is not None:
            complete = complete or await self._complete(pulse)
            if not complete:
                return False
            try:
                newest = await self._append(subject, newest, await self._summary(pulse, span), span)
            except Conflict:
                return False
        return True

    async def _next(self, pulse: Pulse, newest: Recorded | None, now: int) -> Span | None:
        event = newest.event if newest else None
        last = event if isinstance(event, DaySummarised) else None
        begin = last.until if last else 0
        first = await self._around.first_since(pulse.tenant, pulse.agent, begin=begin)
        return next_day(last, first, self._zone, now=now)

    async def _complete(self, pulse: Pulse) -> bool:
        """Tell whether the read model has everything of the agent that is on the log now."""
        pattern = matching(pulse.tenant, pulse.agent)
        newest = await self._writer.log.last(pattern, fresh=True)
        seq = newest.seq if newest else 0
        return await self._around.has(seq)

    async def _summary(self, pulse: Pulse, span: Span) -> DaySummarised:
        where = {"begin": span.begin, "until": span.until}
        happened = await self._around.between(pulse.tenant, pulse.agent, **where, limit=MOST)
        said = await self._around.said(pulse.tenant, pulse.agent, **where)
        return summarise(
            span,
            self._zone_name,
            happened,
            messages=said.messages,
            conversations=said.conversations,
        )

    async def _append(
        self, subject: str, newest: Recorded | None, event: DaySummarised, span: Span
    ) -> Recorded:
        """Append the summary behind the last one.

        Raises:
            Conflict: another replica was faster.
        """
        id_ = ids.derived("day", subject, str(span.begin))
        cause = newest.envelope.id if newest else None
        envelope = self._writer.seal(event, id=id_, cause=cause)
        seq = await self._writer.log.append_if(subject, newest.seq if newest else 0, envelope)
        return Recorded(seq, subject, envelope, event, b"")
