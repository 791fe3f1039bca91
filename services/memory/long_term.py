"""An agent's memory as people look at it: what there is, and where each memory comes from."""

from dataclasses import dataclass
from typing import Final, Unpack

import msgspec

from projections import archive, memories
from projections.memories import NEWEST, Edge, Filters, Hit, Memory, Mode
from schemas.base import Content, EventId, RunId
from schemas.channel import MessageReceived
from schemas.memory import MemoryKind, Scope
from schemas.subjects import parse
from services.errors import Rejected
from services.memory.audience import Audience
from services.memory.keeping import memory_subject
from services.memory.meaning import meaning
from services.memory.neighbours import Known, Place
from services.memory.people import People
from services.runtime.clock import Clock
from services.runtime.database import Pool, reading
from services.runtime.embedding import Embedder
from services.runtime.event_log import EventLog
from services.runtime.recording import record
from services.runtime.text import clean

PATIENCE_S: Final = 3.0  # how long a reader waits for what was just saved
POLL_S: Final = 0.02
EVERY: Final = 1_000_000  # more than anyone has
NAMED: Final = 5  # ids that are named where several begin alike


class UnknownMemory(Rejected):
    """There is no such memory."""


class InvalidRecall(Rejected):
    """It cannot be looked for like this."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The event that a memory was learned from."""

    event_id: EventId
    seq: int
    type: str
    at: int
    """UTC microseconds."""
    actor: str
    conversation: str | None
    """`adapter/conversation`."""
    turn: RunId | None
    text: Content | None
    """What a person said; None where it is no message."""


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """One memory, where it comes from, and what belongs to it."""

    memory: Memory
    source: Source | None
    """None: nobody said, or it is not there any more."""
    edges: list[Edge]
    """Links from it and to it, firmest first."""
    history: list[Memory]
    """What it replaced and what replaced it, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What somebody looks for."""

    query: str = ""
    mode: Mode = "hybrid"
    kind: MemoryKind | None = None
    scope: Scope | None = None
    since: int | None = None
    until: int | None = None
    limit: int = 10


@dataclass(frozen=True, slots=True)
class LongTerm:
    """One agent's memory."""

    log: EventLog
    pool: Pool
    place: Place
    people: People
    known: Known
    clock: Clock
    embedder: Embedder | None = None
    """None where nothing is found by meaning."""

    async def ids(self, person: str) -> tuple[str, ...]:
        """Return all ids of a person, the canonical one first."""
        return (await self.people.of(self.place.tenant)).all_of(id_of(person))

    async def alone(self, person: str) -> Audience:
        """Return who hears what is told to this person and to nobody else."""
        ids = await self.ids(person)
        return Audience(scope="person", conversation="", person=ids[0], ids=ids)

    async def listing(
        self, *, before: int = NEWEST, limit: int = EVERY, **wanted: Unpack[Filters]
    ) -> list[Memory]:
        """Return memories, newest first; `person` is any of the person's ids, or a name."""
        if isinstance(person := wanted.get("person"), str):
            wanted["person"] = await self.ids(person)
        tenant, agent = self.place.tenant, self.place.agent
        async with reading(self.pool, tenant) as conn:
            return await memories.listing(conn, tenant, agent, before=before, limit=limit, **wanted)

    async def one(
        self,
        id_: str,
        *,
        person: str | None = None,
        replaced: bool = False,
        forgotten: bool = False,
    ) -> Memory:
        """Return the memory whose id is, or begins with, what is given.

        Raises:
            UnknownMemory: there is none, or none of this person.
            Rejected: there are several.
        """
        id_ = clean(id_).strip()
        found = await self.listing(
            id_prefix=id_, person=person, replaced=replaced, forgotten=forgotten, limit=NAMED + 1
        )
        if id_ and len(found) == 1:
            return found[0]
        if not id_ or not found:
            of = f" of {person}" if person else ""
            raise UnknownMemory(f"no memory {id_!r}{of}; see `penstock memory list`")
        if exact := [memory for memory in found if memory.memory_id == id_]:
            return exact[0]
        names = ", ".join(memory.memory_id for memory in found[:NAMED])
        raise Rejected(f"{id_!r} is the beginning of several ids: {names}")

    async def detail(self, memory: Memory) -> Detail:
        """Return where a memory comes from, and what belongs to it."""
        tenant, agent = self.place.tenant, self.place.agent
        async with reading(self.pool, tenant) as conn:
            found = memory.source and await archive.by_id(conn, tenant, memory.source)
            return Detail(
                memory=memory,
                source=_source(found) if found else None,
                edges=await memories.edges(conn, tenant, [memory.memory_id]),
                history=await memories.history(conn, tenant, agent, memory.memory_id),
            )

    async def recall(self, asked: Question, audience: Audience | None) -> list[Hit]:
        """Return what may be told to somebody, best first, and why each was found.

        Args:
            asked: What to look for.
            audience: Who hears it; None for whoever runs the installation, who may see all.

        Raises:
            InvalidRecall: `typed` needs a kind.
        """
        if asked.mode == "typed" and asked.kind is None:
            raise InvalidRecall("typed needs a kind.")
        query = clean(asked.query)
        by_meaning = asked.mode == "hybrid"
        means = await meaning(self.embedder, query) if by_meaning else None
        tenant, agent = self.place.tenant, self.place.agent
        async with reading(self.pool, tenant) as conn:
            return await memories.recall(
                conn,
                tenant,
                agent,
                query,
                meaning=means,
                mode=asked.mode,
                kind=asked.kind,
                scope=asked.scope,
                since=asked.since,
                until=asked.until,
                person=audience.own if audience else None,
                conversation=audience.conversation if audience else None,
                everyone=audience is None,
                now=self.clock.now(),
                limit=asked.limit,
            )

    async def caught_up(self) -> None:
        """Wait until the read model has what is on the log; not for ever.

        Raises:
            DatabaseUnavailable, LogUnavailable: there is no telling.
        """
        newest = await self.log.last(memory_subject(self.place), fresh=True)
        seq = newest.seq if newest else 0
        deadline = self.clock.monotonic() + PATIENCE_S
        while await self.known.position() < seq and self.clock.monotonic() < deadline:
            await self.clock.sleep(POLL_S)


def id_of(person: str) -> str:
    """Return a person's id; a name without a platform is one of the portal."""
    return person if ":" in person else f"portal:{person}"


def shown(memory: Memory) -> str:
    """Return a memory's text; one that is kept elsewhere as its size."""
    text = memory.text
    return text if isinstance(text, str) else f"({text.bytes:,} bytes)"


def _source(stored: archive.Stored) -> Source:
    """Return what an event says about itself, and what was said if it is a message."""
    recorded = record(stored.seq, stored.subject, stored.body)
    envelope, where, event = recorded.envelope, parse(recorded.subject), recorded.event
    return Source(
        event_id=envelope.id,
        seq=recorded.seq,
        type=envelope.type,
        at=envelope.at,
        actor=envelope.actor,
        conversation=f"{where.adapter}/{where.conversation}" if where.conversation else None,
        turn=envelope.turn,
        text=event.text if isinstance(event, MessageReceived) else None,
    )
