"""What a person does with an agent's memory: save, correct, forget; over HTTP or at a terminal.

Every request may be tried again. A save or a correction with a key is stored once, however much
later the second try comes; a memory is forgotten once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from projections import archive, positions
from projections.memories import Memory
from schemas.base import MemoryId
from schemas.memory import (
    MemoryForgotten,
    MemoryKind,
    MemorySaved,
    MemoryTouched,
    Replaced,
    Scope,
)
from services.memory.audience import Audience
from services.memory.gate import Candidate, Neighbour
from services.memory.keeping import Keeper, Kept, Origin, memory_subject
from services.memory.long_term import LongTerm, id_of, shown
from services.runtime import ids
from services.runtime.database import DatabaseUnavailable, reading, using
from services.runtime.memory import DEFAULT_IMPORTANCE, InvalidMemory, statement
from services.runtime.recording import record
from services.runtime.text import clean

LONGEST_REASON: Final = 1_000  # characters


@dataclass(frozen=True, slots=True)
class Author:
    """Who wants something, and how another try of it is known again."""

    actor: str
    """As in envelopes: `person:portal:ana`."""
    key: str = ""
    """The same for every try; empty where this is the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMemory:
    """What to remember, and of whom."""

    text: str
    kind: MemoryKind = "fact"
    importance: float | None = None
    """None: the usual one of its kind."""
    scope: Scope
    person: str
    """Whom it comes from: any id of theirs, or a name."""
    conversation: str | None = None
    """`adapter/conversation`."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What became of something that was to be remembered."""

    memory_id: MemoryId
    seq: int
    known: bool
    """True: it was remembered already, under this id; that it was said again is noted."""
    replaces: tuple[Replaced, ...]
    """What is no longer valid because of it."""


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that is recalled no more."""

    memory_id: MemoryId
    seq: int | None
    """Of the event that says so; None where it had been forgotten before."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Changes one agent's memory in the name of people."""

    there: LongTerm
    keeper: Keeper

    async def save(self, new: NewMemory, by: Author) -> Stored:
        """Remember a statement, unless it is known; what it contradicts is replaced.

        Raises:
            InvalidMemory: it is empty, too long, or of a conversation that is not named.
            MemoryBehind, LogUnavailable, LogFull: it may or may not be saved; try again.
        """
        text = statement(new.text)
        if new.scope == "channel" and not new.conversation:
            raise InvalidMemory("a memory of a channel needs a conversation, ADAPTER/C")
        origin, before = await self._tried("save", by)
        if before is not None:
            return _stored(before)
        importance = new.importance
        candidate = Candidate(
            memory_id=MemoryId(origin.key),
            kind=new.kind,
            text=text,
            importance=DEFAULT_IMPORTANCE[new.kind] if importance is None else importance,
            scope=new.scope,
            person=clean(id_of(new.person)),
            conversation=new.conversation,
        )
        return _stored(
            await self.keeper.save(
                self.there.place,
                candidate,
                origin,
                heard=None,
                ids_of_person=await self.there.ids(new.person),
            )
        )

    async def correct(
        self, id_: str, text: str, by: Author, *, person: str | None = None
    ) -> Stored:
        """Say how a memory is right; what it said before stays in its history.

        Raises:
            UnknownMemory: there is none, or none of this person.
            InvalidMemory: the text cannot be remembered.
            Rejected: the memory is not valid any more.
            DatabaseUnavailable, MemoryBehind, LogUnavailable, LogFull: try again.
        """
        text = statement(text)
        origin, before = await self._tried("correct", by)
        if before is not None:
            return _stored(before)
        wrong = await self.there.one(id_, person=person, replaced=True)
        candidate = Candidate(
            memory_id=MemoryId(origin.key),
            kind=wrong.kind,
            text=text,
            importance=wrong.importance,
            scope=wrong.scope,
            person=wrong.person,
            conversation=wrong.conversation,
            source=wrong.source,
        )
        return _stored(
            await self.keeper.correct(
                self.there.place,
                candidate,
                Neighbour(wrong.memory_id, wrong.kind, shown(wrong), wrong.importance),
                origin,
                valid=wrong.replaced_by is None,
                ids_of_person=await self.there.ids(wrong.person) if wrong.person else (),
            )
        )

    async def forget(
        self, found: Sequence[Memory], by: Author, *, reason: str = ""
    ) -> list[Forgotten]:
        """Let memories be recalled no more.

        Raises:
            DatabaseUnavailable, LogUnavailable, LogFull: some may be forgotten; try again.
        """
        subject, writer = memory_subject(self.there.place), self.keeper.writer
        gone: dict[MemoryId, int | None] = {
            memory.memory_id: None for memory in found if memory.forgotten_at is not None
        }
        position = await self.there.known.position()
        async for recorded in self.there.log.read(subject, after=position, fresh=True):
            if isinstance(recorded.event, MemoryForgotten):
                gone[recorded.event.memory_id] = None
        for memory in found:
            if memory.memory_id in gone:
                continue
            event = MemoryForgotten(
                memory_id=memory.memory_id, reason=clean(reason)[:LONGEST_REASON]
            )
            envelope = writer.seal(
                event, id=ids.derived("forget", subject, memory.memory_id), actor=by.actor
            )
            gone[memory.memory_id] = await writer.log.append(subject, envelope)
        return [
            Forgotten(memory_id=memory.memory_id, seq=gone[memory.memory_id]) for memory in found
        ]

    async def _tried(self, what: str, by: Author) -> tuple[Origin, Kept | None]:
        """Return how this request is known again, and what an earlier try of it stored.

        What the archive lacks is behind its position, where the keeper looks for it.
        """
        if not by.key:
            return Origin(ids.new(), actor=by.actor), None
        place = self.there.place
        key = ids.derived("asked", what, memory_subject(place), by.key)
        origin = Origin(key, since=0, actor=by.actor)
        try:
            await self.there.known.position()  # tells whether there are read models at all
            async with using(self.there.pool) as conn:
                position = (await positions.listing(conn)).get(archive.NAME)
            async with reading(self.there.pool, place.tenant) as conn:
                found = await archive.by_id(conn, place.tenant, origin.event_id)
        except DatabaseUnavailable:
            return origin, None  # then the log is read from its beginning
        since = position.seq if position else 0
        origin = Origin(key, since=since, actor=by.actor)
        event = record(found.seq, found.subject, found.body).event if found else None
        if found and isinstance(event, MemorySaved | MemoryTouched):
            return origin, Kept(event, found.seq)
        return origin, None


def scope_in(audience: Audience, person: Sequence[str]) -> Scope:
    """Return who may see what a person says in a conversation, and so what is saved from it.

    Raises:
        InvalidMemory: it is somebody else's own conversation.
    """
    if audience.scope == "person" and not set(audience.ids) & set(person):
        raise InvalidMemory(f"{audience.conversation} is a conversation of somebody else alone")
    return audience.scope


def _stored(kept: Kept) -> Stored:
    event = kept.event
    return Stored(
        memory_id=event.memory_id,
        seq=kept.seq,
        known=isinstance(event, MemoryTouched),
        replaces=event.replaces if isinstance(event, MemorySaved) else (),
    )
