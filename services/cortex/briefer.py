"""Write an agent's briefing anew when its content has changed, and not too often.

Consumes:  activity, memories, summarised days, syntheses
Emits:     briefing_written
Never:     calls a model; shows what a person or a channel keeps to itself
"""

from typing import Final

from projections.activity import Pulse
from schemas.cortex import BriefingWritten
from services.cortex.layers import Material, compose
from services.cortex.reading import Around
from services.cortex.written import Written
from services.errors import Conflict
from services.runtime import days
from services.runtime.bodies import BodyStore, text_of
from services.runtime.briefings import subject_of
from services.runtime.config import CortexSettings
from services.runtime.writer import Writer

MOST_MEMORIES: Final = 60  # looked at; far more than any budget has room for
LIVELY_S: Final = 86_400  # how long an open conversation counts as lively


class Briefer:
    """Keeps briefings up to date."""

    name = "briefing"

    def __init__(
        self, writer: Writer, bodies: BodyStore, around: Around, settings: CortexSettings
    ) -> None:
        self._writer = writer
        self._bodies = bodies
        self._around = around
        self._settings = settings
        self._zone = days.zone(settings.time_zone)
        self._written = Written(writer.log)

    def depends_on(self, pulse: Pulse, now: int) -> object:
        """Return the last event: time alone changes nothing, since days are named by date."""
        del now
        return pulse.seq

    async def look(self, pulse: Pulse, now: int) -> bool:
        """Write a briefing if there is something new to show, and if it is time."""
        subject = str(subject_of(pulse.tenant, pulse.agent, "briefing"))
        newest = await self._writer.log.last(subject, fresh=True)
        written = newest.event if newest else None
        early = newest and now - newest.envelope.at < self._settings.briefing_interval_s * 1_000_000
        if early and not await self._quotes_what_is_gone(pulse, written):
            return False
        made = compose(await self._material(pulse, now), self._settings)
        if made == (written or BriefingWritten(layers=())):
            return True
        try:
            envelope = self._writer.seal(made, cause=newest.envelope.id if newest else None)
            await self._writer.log.append_if(subject, newest.seq if newest else 0, envelope)
        except Conflict:  # another replica wrote one; whether it has all that we know is to be seen
            return False
        return True

    async def _quotes_what_is_gone(self, pulse: Pulse, written: object) -> bool:
        """Tell whether a briefing shows something that is forgotten: that must not wait."""
        if not isinstance(written, BriefingWritten):
            return False
        await self._written.refresh(pulse.tenant, pulse.agent)
        synthesis = self._written.synthesis(pulse.tenant, pulse.agent)
        lines = [
            *(line for layer in written.layers for line in layer.lines),
            *(known.line for known in written.people),
        ]
        quoted = {line.memory_id for line in lines if line.memory_id}
        if synthesis is not None and any(
            layer.name == "knowledge" and not any(line.memory_id for line in layer.lines)
            for layer in written.layers
        ):
            quoted |= {*synthesis.memories}
        return bool(await self._around.gone(pulse.tenant, sorted(quoted)))

    async def _material(self, pulse: Pulse, now: int) -> Material:
        tenant, agent = pulse.tenant, pulse.agent
        day = days.day_of(now, self._zone)
        begin, until = days.begin(day, self._zone), days.begin(days.after(day), self._zone)
        await self._written.refresh(tenant, agent)
        summaries = self._written.days(tenant, agent)
        synthesis = self._written.synthesis(tenant, agent)
        quoted = [
            *(line.memory_id for summary in summaries for line in summary.lines if line.memory_id),
            *(synthesis.memories if synthesis else ()),
        ]
        around = self._around
        gone = await around.gone(tenant, quoted)
        identity = await around.remembered(tenant, agent, kinds=("identity",), limit=MOST_MEMORIES)
        memories = await around.remembered(tenant, agent, limit=MOST_MEMORIES)
        today = await around.between(tenant, agent, begin=begin, until=until)
        places = await around.places(tenant, agent, since=now - LIVELY_S * 1_000_000)
        text = None
        if synthesis is not None and gone.isdisjoint(synthesis.memories):
            text = await text_of(self._bodies, synthesis.text)
        return Material(
            now=now,
            zone=self._zone,
            identity=identity,
            memories=memories,
            synthesis=text,
            summaries=summaries,
            today=today,
            places=places,
            gone=gone,
        )
