"""Link each new memory to the older ones that it is most like.

Consumes:  memories that were not yet compared, a pass at a time
Emits:     memory_linked, and memories_associated in the same batch: all of a pass or nothing
Never:     compares two old memories; links what one person or channel keeps to itself with others'

The work of a pass grows with the new memories, not with all of them: for each one, one query.
"""

from collections.abc import Sequence
from typing import Final

from projections import activity, memories
from projections.activity import Pulse, Unlinked
from projections.memories import Hit, Meaning, Memory
from schemas.cortex import MemoriesAssociated
from schemas.envelope import Envelope
from schemas.memory import MemoryLinked
from schemas.subjects import Subject
from services.cortex.reading import caught_up
from services.cortex.similarity import Similarity
from services.errors import Conflict
from services.runtime import ids
from services.runtime.briefings import subject_of
from services.runtime.config import CortexSettings
from services.runtime.database import Pool, reading, using
from services.runtime.event_log import Append
from services.runtime.writer import Writer

A_PASS: Final = 50  # memories: with their links, one atomic batch
QUERY_CHARS: Final = 1_000  # of a memory, to look for others by


class Associations:
    """Keeps the graph of memories connected; any number of replicas may do it."""

    def __init__(
        self, writer: Writer, pool: Pool, settings: CortexSettings, similarity: Similarity
    ) -> None:
        self._writer = writer
        self._pool = pool
        self._settings = settings
        self._similarity = similarity

    async def run_once(self, now: int) -> int:
        """Compare the new memories of every agent, a pass at a time; return how many there were.

        Raises:
            DatabaseUnavailable, LogUnavailable: what is left is done at the next look.
        """
        del now
        async with using(self._pool) as conn:
            agents = await activity.with_unlinked(conn)
        compared = 0
        for agent in agents:
            while (done := await self._pass(agent)) == A_PASS:  # there may be more
                compared += done
            compared += done
        return compared

    async def _pass(self, pulse: Pulse) -> int:
        """Compare the oldest of an agent's new memories; return how many there were."""
        subject = str(subject_of(pulse.tenant, pulse.agent, "associations"))
        newest = await self._writer.log.last(subject, fresh=True)
        seq = newest.seq if newest else 0
        # What the last pass has done must be seen, or it would be done twice.
        if not await caught_up(self._pool, self._writer.clock, seq, activity.NAME):
            return 0
        async with reading(self._pool, pulse.tenant) as conn:
            waiting = await activity.unlinked(conn, pulse.tenant, pulse.agent, limit=A_PASS)
        if not waiting:
            return 0
        if not await caught_up(self._pool, self._writer.clock, waiting[-1].seq, memories.NAME):
            return 0
        links = [link for each in waiting for link in await self._links(pulse, each)]
        done = MemoriesAssociated(
            memory_ids=tuple(each.memory_id for each in waiting), links=len(links)
        )
        cause = newest.envelope.id if newest else None
        stream = str(Subject(pulse.tenant, pulse.agent, entity="memory"))
        appends = [Append(stream, self._sealed(link)) for link in links]
        appends.append(Append(subject, self._writer.seal(done, cause=cause), expected=seq))
        try:
            await self._writer.log.append_batch(appends)
        except Conflict:
            return 0  # another replica has done this pass
        return len(waiting)

    def _sealed(self, link: MemoryLinked) -> Envelope:
        id_ = ids.derived("link", link.memory_id, link.to, link.relation)
        return self._writer.seal(link, id=id_)

    async def _links(self, pulse: Pulse, new: Unlinked) -> list[MemoryLinked]:
        async with reading(self._pool, pulse.tenant) as conn:
            memory = await memories.by_id(conn, pulse.tenant, pulse.agent, new.memory_id)
        if memory is None or memory.forgotten_at is not None or memory.valid_to is not None:
            return []
        if not isinstance(memory.text, str) or not self._settings.links:
            return []
        text = memory.text[:QUERY_CHARS]
        meant = await self._similarity.meaning(text)
        others = await self._candidates(pulse, memory, text, meant)
        weights = await self._similarity.weights(text, meant, others)
        ranked = sorted(zip(weights, others, strict=True), key=lambda pair: -pair[0])
        return [
            MemoryLinked(memory_id=memory.memory_id, to=other.memory_id, weight=round(weight, 3))
            for weight, other in ranked[: self._settings.links]
            if weight >= self._settings.link_similarity
        ]

    async def _candidates(
        self, pulse: Pulse, memory: Memory, query: str, meant: Meaning | None
    ) -> Sequence[Hit]:
        """Return older memories that look alike, seen with the eyes of whoever sees this one."""
        async with reading(self._pool, pulse.tenant) as conn:
            found = await memories.recall(
                conn,
                pulse.tenant,
                pulse.agent,
                query,
                meaning=meant,
                person=memory.person if memory.scope == "person" else None,
                conversation=memory.conversation if memory.scope == "channel" else None,
                limit=2 * self._settings.links + 1,
            )
        return [
            other
            for other in found
            if other.seq < memory.seq
            and other.agent == memory.agent
            and isinstance(other.text, str)
        ]
