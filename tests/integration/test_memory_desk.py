"""What people ask of an agent's memory is done once, however late and often it is asked again."""

import pytest

from projections.registry import PROJECTIONS
from schemas.memory import MemoryForgotten, MemorySaved
from services.errors import LogUnavailable
from services.memory.desk import Author, Desk, NewMemory
from services.memory.keeping import Keeper
from services.memory.long_term import LongTerm
from services.memory.neighbours import Place, Projected
from services.memory.people import People
from services.projector.applying import Member, take_in
from services.runtime.database import DatabaseUnavailable
from services.runtime.writer import Writer
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

pytestmark = pytest.mark.integration

ANA = Author("person:portal:ana", "k")
TEA = NewMemory(text="Ana likes tea.", scope="person", person="ana")


class Forgetful(FakeLog):
    """Knows no id again, as a log does after its two minutes; loses the next acknowledgement."""

    loses = False

    async def _store(self, appends):
        self._ids.clear()
        seq = await super()._store(appends)
        if self.loses:
            self.loses = False
            raise LogUnavailable
        return seq


class Known(Projected):
    """A read model that can be away."""

    is_away = False

    async def position(self):
        if self.is_away:
            raise DatabaseUnavailable
        return await super().position()


class Room:
    """A desk, and a projector that works when it is told to."""

    def __init__(self, pool):
        self.pool, self.log, self.clock = pool, Forgetful(), FakeClock()
        self.known = Known(pool)
        self.members = [Member(projection, 0) for projection in PROJECTIONS]
        self.desk = self.new_desk()

    def new_desk(self):
        there = LongTerm(
            *(self.log, self.pool, Place("acme", "atlas"), People(self.log)),
            *(self.known, self.clock),
        )
        return Desk(there, Keeper(Writer(self.log, self.clock, "api"), self.known))

    async def project(self):
        async with self.pool.connection() as conn:
            for member in self.members:
                if new := self.log.events[member.seq :]:
                    await take_in(conn, member, new)

    def count(self, kind):
        return sum(isinstance(each.event, kind) for each in self.log.events)


@pytest.fixture
def room(pool):
    return Room(pool)


async def test_a_second_try_finds_what_the_first_stored_wherever_that_is(room):
    first = await room.desk.save(TEA, ANA)
    assert await room.new_desk().save(TEA, ANA) == first  # only the log has it
    room.known.is_away = True
    assert await room.new_desk().save(TEA, ANA) == first
    room.known.is_away = False
    await room.project()
    assert await room.new_desk().save(TEA, ANA) == first  # the archive has it
    assert room.count(MemorySaved) == len(room.log.events) == 1
    assert room.log.events[0].envelope.actor == "person:portal:ana"


async def test_a_second_try_of_a_save_that_changed_nothing_is_told_the_same(room):
    await room.desk.save(TEA, Author("person:portal:ana"))
    await room.project()
    touched = await room.desk.save(TEA, ANA)
    await room.project()
    assert touched.known
    assert await room.desk.save(TEA, ANA) == touched
    assert len(room.log.events) == 2


@pytest.mark.parametrize("projects", [False, True])
async def test_a_change_whose_acknowledgement_was_lost_is_made_once(room, projects):
    saved = await room.desk.save(TEA, Author("person:portal:ana"))
    await room.project()

    async def tried(ask):
        room.log.loses = True
        with pytest.raises(LogUnavailable):
            await ask()
        if projects:
            await room.project()
        return await ask()

    right = await tried(lambda: room.desk.correct(saved.memory_id, "Ana likes coffee.", ANA))
    assert [(each.memory_id, each.why) for each in right.replaces] == [
        (saved.memory_id, "correction")
    ]
    await room.project()

    async def forget():
        one = await room.desk.there.one(right.memory_id, forgotten=True)
        return await room.desk.forget([one], ANA, reason="enough")

    assert [each.seq for each in await tried(forget)] == [None]
    assert (room.count(MemorySaved), room.count(MemoryForgotten)) == (2, 1)


async def test_all_of_a_person_is_forgotten_also_when_it_breaks_off_in_the_middle(room):
    for text in ("Ana likes tea.", "Ana lives in Bern.", "Ana plays chess."):
        await room.desk.save(NewMemory(text=text, scope="person", person="ana"), Author("a"))
    await room.project()

    async def forget():
        found = await room.desk.there.listing(person="ana", replaced=True)
        return await room.desk.forget(found, Author("person:portal:ana"))

    room.log.loses = True
    with pytest.raises(LogUnavailable):
        await forget()
    assert sorted(each.seq is None for each in await forget()) == [False, False, True]
    await room.project()
    assert await forget() == []
    assert room.count(MemoryForgotten) == 3
