"""Who is who, as the log says: people linked across platforms."""

import asyncio

import msgspec

from projections import people as spoken
from schemas.people import PeopleEvent, PersonLinked, PersonUnlinked
from schemas.subjects import Subject
from services.errors import Conflict, Rejected
from services.memory.identities import Identities, evolve
from services.runtime.behind import HistoryGone, behind
from services.runtime.database import Pool, reading
from services.runtime.event_log import EventLog
from services.runtime.text import clean
from services.runtime.writer import Writer


class InvalidPerson(Rejected):
    """The id is of no platform."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """An id that has spoken, or was linked."""

    person: str
    same_as: str
    """The id that stands for the person; itself, where it was linked to none."""
    name: str | None
    last_at: int | None
    """When it spoke last, UTC microseconds; None for never."""


def people_subject(tenant: str) -> str:
    """Return the subject of a tenant's people."""
    return str(Subject(tenant, entity="people"))


class People:
    """Reads who is who as far as it goes at each question; it is short and cached."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._known: dict[str, Identities] = {}
        self._read: dict[str, int] = {}
        self._reading = asyncio.Lock()

    async def of(self, tenant: str) -> Identities:
        """Return who is who, up to everything that was ever acknowledged."""
        async with self._reading:
            try:
                return await self._read_on(tenant)
            except HistoryGone:
                del self._known[tenant], self._read[tenant]
                return await self._read_on(tenant)

    async def _read_on(self, tenant: str) -> Identities:
        """Take in what came since.

        Raises:
            HistoryGone: what is known is not in the log any more.
        """
        state, seq = self._known.get(tenant, Identities()), self._read.get(tenant, 0)
        async for recorded in behind(self._log, people_subject(tenant), seq, fresh=True):
            seq = recorded.seq
            if isinstance(recorded.event, PersonLinked | PersonUnlinked):
                state = evolve(state, recorded.event)
        self._known[tenant], self._read[tenant] = state, seq
        return state


async def link(writer: Writer, tenant: str, person: str, same_as: str) -> Identities:
    """Make two ids one person, unless they are, and return who is who then."""
    event = PersonLinked(person=_id(person), same_as=_id(same_as))
    return await _change(writer, tenant, event)


async def unlink(writer: Writer, tenant: str, person: str) -> Identities:
    """Make an id a person of its own, unless it is, and return who is who then."""
    return await _change(writer, tenant, PersonUnlinked(person=_id(person)))


async def everyone(people: People, pool: Pool, tenant: str) -> list[Known]:
    """Return who has spoken, the latest first, then who was only linked."""
    identities = await people.of(tenant)
    async with reading(pool, tenant) as conn:
        known = {one.person: one for one in await spoken.listing(conn, tenant)}
    return [
        Known(
            person=id_,
            same_as=identities.canonical(id_),
            name=known[id_].name if id_ in known else None,
            last_at=known[id_].last_at if id_ in known else None,
        )
        for id_ in (*known, *(one for one in identities.groups if one not in known))
    ]


async def _change(writer: Writer, tenant: str, event: PeopleEvent) -> Identities:
    subject = people_subject(tenant)
    while True:
        newest = await writer.log.last(subject, fresh=True)
        there = await People(writer.log).of(tenant)
        changed = evolve(there, event)
        if changed == there:
            return there
        try:
            await writer.log.append_if(subject, newest.seq if newest else 0, writer.seal(event))
        except Conflict:
            continue
        return changed


def _id(person: str) -> str:
    """Return the id of a person.

    Raises:
        InvalidPerson: it has no platform.
    """
    id_ = clean(person).strip()
    platform, _, rest = id_.partition(":")
    if not platform or not rest:
        raise InvalidPerson(
            f"{person!r} is no person: write PLATFORM:ID, as in portal:ana or slack:U123"
        )
    return id_
