"""Put memories on the log: look, decide, append on the condition that nothing else came between."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

import structlog

from schemas.base import EventId, MemoryId, RunId
from schemas.memory import MemoryEvent, MemorySaved, MemoryTouched
from schemas.subjects import Subject
from services.errors import Conflict, Rejected, ServiceError, Transient
from services.memory import gate
from services.memory.gate import Candidate, Neighbour
from services.memory.junk import Heard
from services.memory.meaning import PATIENCE_S
from services.memory.neighbours import NEAREST, Known, Place, Statement, Tail
from services.memory.relation import relation
from services.memory.wording import read
from services.runtime import ids
from services.runtime.database import DatabaseUnavailable
from services.runtime.embedding import Embedder
from services.runtime.event_log import Append
from services.runtime.writer import Writer

MOST_BEHIND: Final = 20_000  # events of one agent's memory that a save reads beyond the read model

log = structlog.get_logger()


class MemoryBehind(Transient):
    """The read model is away or too far behind, and there is too much in the log to do without."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What leads to a write, and how a retry of it is recognised."""

    key: str
    """The same for every try."""
    since: int | None = None
    """A sequence before which it cannot have been stored; None where this is the only try."""
    cause: EventId | None = None
    turn: RunId | None = None
    actor: str | None = None
    """Who wants it, for the envelope; None for whoever writes."""

    @property
    def event_id(self) -> EventId:
        """The id of the event that says what became of it."""
        return ids.derived("saved", self.key)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a candidate."""

    event: MemorySaved | MemoryTouched
    seq: int


@dataclass(slots=True)
class Looked:
    """What the log and the read model say at one moment."""

    newest: int = 0
    """Sequence of the last event of the agent's memories: what the next append expects."""
    ours: Kept | None = None
    """What an earlier try stored."""
    tail: Tail = field(default_factory=Tail)
    neighbours: list[Neighbour] = field(default_factory=list)
    gone: list[Neighbour] = field(default_factory=list)
    """What was forgotten or replaced since the candidate was said."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Saves and corrects memories; safe to repeat, and safe when many do it at once."""

    writer: Writer
    known: Known
    embedder: Embedder | None = None
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, repr=False, compare=False
    )

    async def save(
        self,
        place: Place,
        candidate: Candidate,
        origin: Origin,
        *,
        heard: Heard | None,
        ids_of_person: Sequence[str] = (),
    ) -> Kept:
        """Remember a statement, or that it was said again.

        Args:
            place: Whose memory.
            candidate: What, and of whom.
            origin: Why, and how to know it again.
            heard: What the run that saves was shown; None for a person, who may save anything.
            ids_of_person: All ids of the candidate's person.

        Raises:
            NotWorthKeeping: says why.
            MemoryBehind: it cannot be told what is known; nothing was saved.
            LogUnavailable, LogFull: it may or may not have been saved; try again.
        """

        def decide(looked: Looked) -> tuple[MemoryEvent, ...]:
            return gate.decide(candidate, looked.neighbours, heard, looked.gone)

        return await self._keep(place, candidate, origin, decide, ids_of_person)

    async def correct(
        self,
        place: Place,
        candidate: Candidate,
        wrong: Neighbour,
        origin: Origin,
        *,
        valid: bool = True,
        ids_of_person: Sequence[str] = (),
    ) -> Kept:
        """Replace a memory that a person says is wrong.

        Args:
            place: Whose memory.
            candidate: How it is right.
            wrong: What is wrong.
            origin: Why, and how to know it again.
            valid: Whether the read model has it as valid.
            ids_of_person: All ids of the candidate's person.

        Raises:
            Rejected: it is not valid any more.
            MemoryBehind, LogUnavailable, LogFull: as for `save`.
        """

        def decide(looked: Looked) -> tuple[MemoryEvent, ...]:
            if not valid or wrong.memory_id in looked.tail.gone:
                raise Rejected(f"The memory {wrong.memory_id} is not valid any more.")
            return gate.correct(candidate, wrong, looked.neighbours)

        return await self._keep(place, candidate, origin, decide, ids_of_person)

    async def _keep(
        self,
        place: Place,
        candidate: Candidate,
        origin: Origin,
        decide: Callable[[Looked], tuple[MemoryEvent, ...]],
        ids_of_person: Sequence[str],
    ) -> Kept:
        lock = self._locks.setdefault(memory_subject(place), asyncio.Lock())
        async with lock:  # every conflict costs a look: we do not compete with ourselves
            while True:
                looked = await self._look(place, candidate, origin, ids_of_person)
                if looked.ours is not None:
                    return looked.ours
                events = await asyncio.to_thread(decide, looked)  # long texts take their time
                try:
                    seq = await self._store(place, events, origin, expected=looked.newest)
                except Conflict:
                    continue  # somebody else remembered something meanwhile: perhaps the same
                return Kept(_first(events), seq)

    async def _store(
        self, place: Place, events: Sequence[MemoryEvent], origin: Origin, *, expected: int
    ) -> int:
        """Append what belongs together behind `expected` or not at all; return the first's seq."""
        appends: list[Append] = []
        for index, event in enumerate(events):
            id_ = origin.event_id if index == 0 else ids.derived("linked", origin.key, str(index))
            envelope = self.writer.seal(
                event, id=id_, cause=origin.cause, turn=origin.turn, actor=origin.actor
            )
            condition = expected if index == 0 else None
            appends.append(Append(memory_subject(place), envelope, condition))
        if len(appends) > 1:
            last = await self.writer.log.append_batch(appends)
            return last - len(appends) + 1  # a batch is stored without anything in between
        return await self.writer.log.append_if(appends[0].subject, expected, appends[0].envelope)

    async def _look(
        self, place: Place, candidate: Candidate, origin: Origin, ids_of_person: Sequence[str]
    ) -> Looked:
        """Return what is known, at a position of the log that the write then insists on."""
        since = candidate.said_at
        went: Sequence[Statement] = ()
        try:
            position = await self.known.position()
            projected = await self.known.near(place, candidate, ids_of_person)
            if since is not None:
                went = await self.known.gone(place, candidate, ids_of_person, since)
        except DatabaseUnavailable as error:  # the log alone tells it all; it only takes longer
            log.info("gate.by_the_log", reason=str(error))
            position, projected, went = 0, (), ()
        looked = await self._read(place, origin, position)

        def beside(statements: Sequence[Statement]) -> list[Statement]:
            return [one for one in statements if one.is_beside(candidate, ids_of_person)]

        found = beside(looked.tail.over(projected))
        nearest = await asyncio.to_thread(_nearest, candidate, found)
        looked.neighbours = await self._measured(candidate, nearest)
        if since is not None:
            gone = beside([*looked.tail.left(projected, since), *went])
            looked.gone = await self._measured(candidate, gone)
        return looked

    async def _read(self, place: Place, origin: Origin, position: int) -> Looked:
        """Read what is on the log beyond the read model, and whether we were here before."""
        looked, subject, behind = Looked(), memory_subject(place), 0
        after = position if origin.since is None else min(position, origin.since)
        async for recorded in self.writer.log.read(subject, after=after, fresh=True):
            looked.newest = recorded.seq
            event = recorded.event
            if recorded.envelope.id == origin.event_id and isinstance(
                event, MemorySaved | MemoryTouched
            ):
                looked.ours = Kept(event, recorded.seq)
            if recorded.seq > position:
                looked.tail.take(recorded)
                behind += 1
                if behind > MOST_BEHIND:
                    raise MemoryBehind
        if not looked.newest:
            newest = await self.writer.log.last(subject, fresh=True)
            looked.newest = newest.seq if newest else 0
        return looked

    async def _measured(self, candidate: Candidate, found: Sequence[Statement]) -> list[Neighbour]:
        """Return the statements as neighbours, with their similarity where it is to decide."""
        doubtful = await asyncio.to_thread(_doubtful, candidate, found)
        cosines: dict[MemoryId, float] = {}
        if self.embedder is not None and doubtful:
            texts = [candidate.text, *(one.text for one in doubtful)]
            try:
                async with asyncio.timeout(PATIENCE_S):
                    mine, *theirs = await self.embedder.embed(texts)
            except (ServiceError, TimeoutError) as error:  # the words alone then decide
                log.info("gate.no_embeddings", detail=str(error))
            else:
                for one, vector in zip(doubtful, theirs, strict=True):
                    pairs = zip(mine, vector, strict=True)
                    cosines[one.memory_id] = sum(a * b for a, b in pairs)
        return [
            Neighbour(
                one.memory_id,
                one.kind,
                one.text,
                one.importance,
                cosines.get(one.memory_id),
                one.since,
            )
            for one in found
        ]


def _doubtful(candidate: Candidate, found: Sequence[Statement]) -> list[Statement]:
    """Return those of which only the meaning tells if they say the same."""
    return [
        one
        for one in found
        if one.kind == candidate.kind
        and relation(candidate.text, one.text, kind=one.kind, cosine=1.0) == "reworded"
    ]


def _nearest(candidate: Candidate, found: Sequence[Statement]) -> list[Statement]:
    """Return those that share most words with the candidate."""
    stems = read(candidate.text).stems
    ranked = sorted(found, key=lambda one: len(stems & read(one.text).stems), reverse=True)
    return ranked[:NEAREST]


def _first(events: Sequence[MemoryEvent]) -> MemorySaved | MemoryTouched:
    first = events[0]
    if not isinstance(first, MemorySaved | MemoryTouched):
        raise TypeError(f"a decision begins with what becomes of the candidate, not {first!r}")
    return first


def memory_subject(place: Place) -> str:
    """Return the subject of an agent's memories."""
    return str(Subject(place.tenant, place.agent, entity="memory"))
