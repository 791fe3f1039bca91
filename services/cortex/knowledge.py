"""Ask for a synthesis of what an agent knows, once for each state of it. The asking is an event.

Consumes:  memories that everybody may know
Emits:     synthesis_requested
Never:     calls a model; asks because of the time alone: only an event is an occasion
"""

from contextlib import suppress
from typing import Final

import structlog

from projections.activity import Happening, Pulse
from schemas.base import MemoryId
from schemas.cortex import KnowledgeSynthesised, SynthesisFailed, SynthesisRequested
from schemas.subjects import parse
from services.cortex.layers import memory_line
from services.cortex.reading import Around
from services.errors import Conflict, ServiceError
from services.runtime import ids
from services.runtime.bodies import BodyStore, content
from services.runtime.briefings import subject_of
from services.runtime.config import CortexSettings
from services.runtime.event_log import Delivery, Handler, Recorded
from services.runtime.live import Live, changes
from services.runtime.prompts import digest
from services.runtime.sweep import QUIET_S, REDELIVERED
from services.runtime.writer import Writer

MOST: Final = 60  # memories that are put together, the most important ones

log = structlog.get_logger()


class Knowledge:
    """Sees to it that what is known gets put together when it has changed."""

    name = "knowledge"

    def __init__(
        self,
        writer: Writer,
        bodies: BodyStore,
        around: Around,
        live: Live,
        settings: CortexSettings,
        handle: Handler,
    ) -> None:
        self._writer = writer
        self._bodies = bodies
        self._around = around
        self._live = live
        self._settings = settings
        self._handle = handle
        self._suspects: set[str] = set()

    def depends_on(self, pulse: Pulse, now: int) -> object:
        """Return what last came from outside; what comes too early waits for the next to come."""
        del now
        return pulse.told_seq

    async def look(self, pulse: Pulse, now: int) -> bool:
        """Ask for a synthesis if there is something new to put together, and if it is time."""
        if not self._settings.synthesis:
            return True
        subject = str(subject_of(pulse.tenant, pulse.agent, "knowledge"))
        newest = await self._writer.log.last(subject, fresh=True)
        event = newest.event if newest else None
        if newest and isinstance(event, SynthesisRequested):
            await self._recover(newest, event, now)
            return False
        interval = self._settings.synthesis_interval_s * 1_000_000
        if newest and now - newest.envelope.at < interval:
            return True
        known = await self._around.remembered(pulse.tenant, pulse.agent, limit=MOST)
        if len(known) < self._settings.synthesis_memories:
            return True
        source = _source(known)
        graph = digest(source)
        if isinstance(event, KnowledgeSynthesised | SynthesisFailed) and event.graph == graph:
            return True
        requested = SynthesisRequested(
            run_id=ids.run_id("synthesis", subject, graph, newest.envelope.id if newest else ""),
            graph=graph,
            memories=tuple(MemoryId(row.ref) for row in known),
            source=await content(self._bodies, source),
        )
        cause = newest.envelope.id if newest else None
        envelope = self._writer.seal(requested, cause=cause)
        with suppress(Conflict):  # another replica asked
            await self._writer.log.append_if(subject, newest.seq if newest else 0, envelope)
        return False

    async def _recover(self, asked: Recorded, event: SynthesisRequested, now: int) -> None:
        """Hand a run on that nobody holds any more, seen so at two looks in a row."""
        stream = parse(asked.subject).of("synthesis", event.run_id)
        last = await self._writer.log.last(str(stream), fresh=True)
        at = max(asked.envelope.at, last.envelope.at if last else 0)
        quiet = now - at > QUIET_S * 1_000_000
        if not quiet or await self._live.anyone(changes(event.run_id)):
            self._suspects.discard(event.run_id)
        elif event.run_id in self._suspects:
            self._suspects.discard(event.run_id)
            try:
                await self._handle(Delivery(asked, REDELIVERED))
            except ServiceError:
                raise
            except Exception:  # a bug in it must not stop what else is tended here
                log.exception("synthesis.failed", run=event.run_id)
        else:
            self._suspects.add(event.run_id)


def _source(known: list[Happening]) -> str:
    return "\n".join(f"- {memory_line(row).text}" for row in known)
