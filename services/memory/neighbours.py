"""What is remembered already that may be about the same: from the read model, and what it lacks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from psycopg.errors import UndefinedTable

from projections import memories, positions
from projections.memories import Memory
from schemas.base import MemoryId
from schemas.memory import MemoryForgotten, MemoryKind, MemorySaved, Scope
from services.memory.gate import Candidate
from services.memory.meaning import meaning
from services.runtime.database import DatabaseUnavailable, Pool, reading, using
from services.runtime.embedding import Embedder
from services.runtime.event_log import Recorded

NEAREST: Final = 20  # memories that are compared; those that say the same rank first


@dataclass(frozen=True, slots=True)
class Place:
    """Whose memory it is."""

    tenant: str
    agent: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A valid memory with a text."""

    memory_id: MemoryId
    kind: MemoryKind
    text: str
    importance: float
    scope: Scope
    person: str | None
    conversation: str | None
    since: int = 0
    """When it began to be true, UTC microseconds."""

    def is_beside(self, candidate: Candidate, ids: Sequence[str]) -> bool:
        """Tell whether it is remembered for the same people as the candidate.

        Args:
            candidate: What somebody wants to save.
            ids: All ids of the person of the candidate.
        """
        if self.scope != candidate.scope:
            return False
        match self.scope:
            case "person":
                return self.person in ids
            case "channel":
                return self.conversation == candidate.conversation
            case "agent" | "tenant":
                return True


class Known(Protocol):
    """A read model of memories."""

    async def position(self) -> int:
        """Return the sequence of the log up to which it is complete, or nearly so."""
        ...

    async def near(
        self, place: Place, candidate: Candidate, ids: Sequence[str]
    ) -> Sequence[Statement]:
        """Return valid memories that may be about the same, nearest first."""
        ...

    async def gone(
        self, place: Place, candidate: Candidate, ids: Sequence[str], since: int
    ) -> Sequence[Statement]:
        """Return what was forgotten or replaced after `since`, UTC microseconds."""
        ...

    async def texts(self, place: Place, memory_ids: Sequence[str]) -> Sequence[str]:
        """Return what these memories say, as far as they are there."""
        ...


class Projected:
    """The memories in PostgreSQL."""

    def __init__(self, pool: Pool, embedder: Embedder | None = None) -> None:
        self._pool = pool
        self._embedder = embedder

    async def position(self) -> int:
        """Return how far the read model is; see the port."""
        try:
            async with using(self._pool) as conn:
                position = (await positions.listing(conn)).get(memories.NAME)
        except UndefinedTable as error:  # before the first migration
            raise DatabaseUnavailable("the read models have not been made yet") from error
        return position.seq if position else 0

    async def near(
        self, place: Place, candidate: Candidate, ids: Sequence[str]
    ) -> Sequence[Statement]:
        """Return what has words or a meaning in common with the candidate; see the port."""
        asked = await meaning(self._embedder, candidate.text)
        async with reading(self._pool, place.tenant) as conn:
            found = await memories.recall(
                conn,
                place.tenant,
                place.agent,
                candidate.text,
                meaning=asked,
                scope=candidate.scope,
                person=ids,
                conversation=candidate.conversation,
                limit=NEAREST,
            )
        return [statement for one in found if one.agent == place.agent and (statement := _of(one))]

    async def gone(
        self, place: Place, candidate: Candidate, ids: Sequence[str], since: int
    ) -> Sequence[Statement]:
        """Return what went since then; see the port."""
        async with reading(self._pool, place.tenant) as conn:
            found = await memories.gone(
                conn,
                place.tenant,
                place.agent,
                scope=candidate.scope,
                persons=ids,
                conversation=candidate.conversation,
                since=since,
            )
        return [statement for one in found if (statement := _of(one))]

    async def texts(self, place: Place, memory_ids: Sequence[str]) -> Sequence[str]:
        """Return what these memories say; see the port."""
        async with reading(self._pool, place.tenant) as conn:
            found = [
                await memories.by_id(conn, place.tenant, place.agent, memory_id)
                for memory_id in memory_ids
            ]
        return [one.text for one in found if one is not None and isinstance(one.text, str)]


def _of(memory: Memory) -> Statement | None:
    if not isinstance(memory.text, str):
        return None
    return Statement(
        memory.memory_id,
        memory.kind,
        memory.text,
        memory.importance,
        memory.scope,
        memory.person,
        memory.conversation,
        memory.valid_from,
    )


@dataclass(slots=True)
class Tail:
    """What happened to an agent's memories behind the position of the read model."""

    saved: dict[MemoryId, Statement] = field(default_factory=dict)
    gone: dict[MemoryId, int] = field(default_factory=dict)
    """What was forgotten or replaced, and when; UTC microseconds."""

    def take(self, recorded: Recorded) -> None:
        """Fold the next event."""
        match recorded.event:
            case MemorySaved() as event:
                for replaced in event.replaces:
                    self.gone[replaced.memory_id] = recorded.envelope.at
                if isinstance(event.text, str):
                    self.saved[event.memory_id] = Statement(
                        event.memory_id,
                        event.kind,
                        event.text,
                        event.importance,
                        event.scope,
                        event.person,
                        event.conversation,
                        event.valid_from or recorded.envelope.at,
                    )
            case MemoryForgotten(memory_id=memory_id):
                self.gone[memory_id] = recorded.envelope.at
            case _:
                pass

    def left(self, projected: Sequence[Statement], since: int) -> list[Statement]:
        """Return what went after `since`, of the newest and of what the read model has."""
        there = {one.memory_id: one for one in (*projected, *self.saved.values())}
        return [there[id_] for id_, at in self.gone.items() if at > since and id_ in there]

    def over(self, projected: Sequence[Statement]) -> list[Statement]:
        """Return what is valid of the newest and of what the read model has."""
        newest = [one for one in self.saved.values() if one.memory_id not in self.gone]
        known = {*self.saved, *self.gone}
        return [*newest, *(one for one in projected if one.memory_id not in known)]
