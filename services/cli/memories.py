"""An agent's memory as a command reads and changes it: caught up with the log, by a person."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from projections import memories, positions
from projections.memories import Memory
from schemas.memory import MemoryEvent, MemoryKind
from services.cli import output
from services.cli.gist import shown
from services.cli.installation import Installation
from services.cli.people import actor
from services.errors import Rejected
from services.memory.keeping import Keeper, memory_subject
from services.memory.neighbours import Place, Projected
from services.memory.people import People
from services.runtime.agents import Agents
from services.runtime.clock import SystemClock
from services.runtime.database import Pool, reading, using
from services.runtime.event_log import EventLog
from services.runtime.writer import Writer

PATIENCE_S: Final = 3.0  # how long a reader waits for what was just saved
POLL_S: Final = 0.02
EVERY: Final = 1_000_000  # more than anyone has


@dataclass(frozen=True, slots=True)
class LongTerm:
    """One agent's memory."""

    log: EventLog
    pool: Pool
    place: Place

    @property
    def keeper(self) -> Keeper:
        """Return what decides on writes; by words alone, for a model takes a second to load."""
        return Keeper(self.writer, Projected(self.pool))

    @property
    def writer(self) -> Writer:
        """Return a writer in the name of whoever sits here."""
        return Writer(self.log, SystemClock(), actor())

    async def ids(self, person: str) -> tuple[str, ...]:
        """Return all ids of a person, the canonical one first."""
        return (await People(self.log).of(self.place.tenant)).all_of(id_of(person))

    async def append(self, event: MemoryEvent) -> int:
        """Put an event on the log and return its sequence."""
        return await self.log.append(memory_subject(self.place), self.writer.seal(event))

    async def listing(
        self,
        *,
        person: str | None = None,
        kind: MemoryKind | None = None,
        replaced: bool = False,
        limit: int = EVERY,
    ) -> list[Memory]:
        """Return memories, newest first; of one person alone where one is given."""
        async with reading(self.pool, self.place.tenant) as conn:
            return await memories.listing(
                conn,
                self.place.tenant,
                self.place.agent,
                kind=kind,
                person=None if person is None else await self.ids(person),
                replaced=replaced,
                limit=limit,
            )

    async def one(self, id_: str, *, person: str | None = None, replaced: bool = False) -> Memory:
        """Return the memory whose id is, or begins with, what is given.

        Raises:
            Rejected: there is none, or none of this person, or several.
        """
        there = await self.listing(person=person, replaced=replaced)
        found = [memory for memory in there if memory.memory_id.startswith(id_)]
        if len(found) == 1:
            return found[0]
        if not found:
            of = f" of {person}" if person else ""
            raise Rejected(f"no memory {id_!r}{of}; see `penstock memory list`")
        names = ", ".join(memory.memory_id for memory in found[:5])
        raise Rejected(f"{id_!r} is the beginning of {len(found)} ids: {names}")

    async def caught_up(self) -> None:
        """Wait until the read model has what is on the log; not for ever."""
        newest = await self.log.last(memory_subject(self.place), fresh=True)
        if newest is None:
            return
        clock = SystemClock()
        deadline = clock.monotonic() + PATIENCE_S
        while clock.monotonic() < deadline:
            async with using(self.pool) as conn:
                position = (await positions.listing(conn)).get(memories.NAME)
            if position is not None and position.seq >= newest.seq:
                return
            await asyncio.sleep(POLL_S)


def id_of(person: str) -> str:
    """Return a person's id; a name without a platform is one of the portal."""
    return person if ":" in person else f"portal:{person}"


@asynccontextmanager
async def opened(here: Installation, agent: str) -> AsyncIterator[LongTerm]:
    """Lend an agent's memory, caught up with the log.

    Raises:
        UnknownAgent: there is no such agent.
        DatabaseUnavailable, LogUnavailable: it cannot be reached.
    """
    async with here.log() as log, here.pool() as pool:
        await Agents(log).get(here.tenant, agent)
        long_term = LongTerm(log, pool, Place(here.tenant, agent))
        await long_term.caught_up()
        yield long_term


def show(found: Sequence[Memory], *, as_json: bool) -> None:
    """Print memories, one a line."""
    if as_json:
        output.document(found)
        return
    if not found:
        print("No memory.")
        return
    rows = [
        (
            memory.memory_id,
            output.when(memory.saved_at),
            memory.kind,
            memory.scope,
            f"{memory.importance:.1f}",
            output.one_line(shown(memory.text)),
        )
        for memory in found
    ]
    output.table(("id", "saved at", "kind", "scope", "weight", "memory"), rows)
