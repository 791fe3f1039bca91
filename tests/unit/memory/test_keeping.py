"""Memories are put on the log once, whoever saves them, however often and at once."""

import asyncio

import pytest

from schemas.base import EventId, MemoryId
from schemas.memory import MemoryForgotten, MemoryLinked, MemorySaved, MemoryTouched
from services.errors import LogUnavailable, Rejected
from services.memory import keeping
from services.memory.gate import Candidate, Neighbour, NotWorthKeeping
from services.memory.junk import Heard
from services.memory.keeping import Keeper, MemoryBehind, Origin, memory_subject
from services.memory.neighbours import Place, Statement
from services.runtime.database import DatabaseUnavailable
from services.runtime.embedding import EmbedderUnavailable
from services.runtime.writer import Writer
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

PLACE = Place("acme", "atlas")
DAY, FRIDAY = "Our release day is Thursday.", "Our release day is Friday."


class ReadModel:
    """A read model that follows the log only when it is told to."""

    def __init__(self, log):
        self.log = log
        self.seq = 0
        self.is_away = False

    async def position(self):
        if self.is_away:
            raise DatabaseUnavailable
        return self.seq

    async def near(self, place, candidate, ids):
        went = self._went(0)
        return [one for one in self._saved() if one.memory_id not in went]

    async def gone(self, place, candidate, ids, since):
        went = self._went(since)
        return [one for one in self._saved() if one.memory_id in went]

    def _saved(self):
        saved = [one for one in self.log.events[: self.seq] if isinstance(one.event, MemorySaved)]
        return [
            Statement(e.memory_id, e.kind, e.text, e.importance, e.scope, e.person, e.conversation)
            for e in (one.event for one in saved)
        ]

    def _went(self, since):
        went = set()
        for recorded in self.log.events[: self.seq]:
            if recorded.envelope.at <= since:
                continue
            if isinstance(recorded.event, MemorySaved):
                went |= {one.memory_id for one in recorded.event.replaces}
            elif isinstance(recorded.event, MemoryForgotten):
                went.add(recorded.event.memory_id)
        return went

    async def texts(self, place, memory_ids):
        return []


class Embedder:
    """Says that everything means the same, or nothing at all."""

    model, dimensions, standing = "test", 2, "by meaning"

    def __init__(self, *, is_away=False):
        self.is_away = is_away

    async def embed(self, texts):
        if self.is_away:
            raise EmbedderUnavailable("away")
        return [(1.0, 0.0) for _ in texts]


class Bench:
    def __init__(self, embedder=None):
        self.log = FakeLog()
        self.known = ReadModel(self.log)
        self.keeper = self.another(embedder)

    def another(self, embedder=None):
        """Return what another process has."""
        return Keeper(Writer(self.log, FakeClock(), "branch"), self.known, embedder)

    async def save(self, text=DAY, key="k", *, keeper=None, heard=None, ids=(), **fields):
        return await (keeper or self.keeper).save(
            PLACE,
            self.candidate(text, key, **fields),
            Origin(key, since=0),
            heard=heard,
            ids_of_person=ids,
        )

    def candidate(self, text=DAY, key="k", **fields):
        given = {"kind": "fact", "importance": 0.5, "scope": "agent", **fields}
        return Candidate(memory_id=MemoryId(f"m-{key}"), text=text, **given)

    @property
    def events(self):
        return [recorded.event for recorded in self.log.events]

    def types(self):
        return [type(event) for event in self.events]


@pytest.fixture
def bench():
    return Bench()


async def test_a_memory_is_saved_on_the_agents_subject(bench):
    kept = await bench.save()
    (recorded,) = bench.log.events
    assert recorded.subject == memory_subject(PLACE) == "evt.acme.atlas._._.memory._"
    assert (kept.event, kept.seq) == (recorded.event, 1)


async def test_the_same_write_twice_is_one_event(bench):
    first = await bench.save()
    bench.log._ids.clear()  # the log's memory of ids is two minutes long
    assert await bench.save() == first
    assert bench.types() == [MemorySaved]


async def test_a_write_is_recognised_however_far_the_read_model_is(bench):
    first = await bench.save(FRIDAY, "first")
    origin = Origin("k", since=first.seq)
    for _ in range(2):
        candidate = bench.candidate()
        kept = await bench.keeper.save(PLACE, candidate, origin, heard=None)
        bench.known.seq = len(bench.log.events)
        bench.log._ids.clear()
    assert kept.event.memory_id == "m-k"
    assert bench.types() == [MemorySaved, MemorySaved, MemoryLinked]


async def test_two_that_save_the_same_at_once_give_one_memory(bench):
    await asyncio.gather(
        *(bench.save(key=f"k{number}", keeper=bench.another()) for number in range(6))
    )
    assert sorted(kind.__name__ for kind in bench.types()) == [
        "MemorySaved",
        *["MemoryTouched"] * 5,
    ]


async def test_of_two_that_contradict_each_other_at_once_one_is_valid(bench):
    await asyncio.gather(
        bench.save(DAY, "a", keeper=bench.another()),
        bench.save(FRIDAY, "b", keeper=bench.another()),
    )
    first, second, link = bench.events
    assert [one.memory_id for one in second.replaces] == [first.memory_id]
    assert (link.memory_id, link.to) == (second.memory_id, first.memory_id)


async def test_what_was_just_saved_is_known_before_the_read_model_has_it(bench):
    await bench.save(key="a")
    assert isinstance((await bench.save(key="b")).event, MemoryTouched)


async def test_what_was_forgotten_or_replaced_is_not_known_any_more(bench):
    await bench.save(DAY, "a")
    await bench.save(FRIDAY, "b")
    bench.known.seq = 1  # and does not know what came since
    kept = await bench.save(DAY, "c")
    assert [one.memory_id for one in kept.event.replaces] == ["m-b"]
    forgotten = MemoryForgotten(memory_id=MemoryId("m-c"))
    await bench.log.append(memory_subject(PLACE), bench.keeper.writer.seal(forgotten))
    assert (await bench.save(DAY, "d")).event.replaces == ()


async def test_a_contradiction_and_its_edge_are_stored_together_or_not_at_all(bench):
    await bench.save(DAY, "a")

    def fail(subject):
        raise LogUnavailable

    bench.log.before_append = fail
    with pytest.raises(LogUnavailable):
        await bench.save(FRIDAY, "b")
    assert len(bench.events) == 1
    bench.log.before_append = None
    await bench.save(FRIDAY, "b")
    assert bench.types() == [MemorySaved, MemorySaved, MemoryLinked]


async def test_while_the_database_is_away_the_log_alone_tells_what_is_known(bench):
    await bench.save(DAY, "first")
    bench.known.is_away = True
    for _ in range(2):
        await bench.save(DAY, "again")
        await bench.save(FRIDAY, "other")
    bench.known.is_away = False
    assert bench.types() == [MemorySaved, MemoryTouched, MemorySaved, MemoryLinked]


async def test_a_read_model_that_is_far_behind_is_said_so(bench, monkeypatch):
    monkeypatch.setattr(keeping, "MOST_BEHIND", 2)
    for number, text in enumerate(("Ana likes tea.", "Bo likes tea.", "Chidi likes tea.")):
        await bench.save(text, f"k{number}")
    with pytest.raises(MemoryBehind):
        await bench.save("Dora likes tea.", "k9")
    bench.known.seq = 3
    await bench.save("Dora likes tea.", "k9")


@pytest.mark.parametrize(
    ("first", "second", "is_known"),
    [
        ({"scope": "person", "person": "a:1"}, {"scope": "person", "person": "b:2"}, True),
        ({"scope": "person", "person": "c:3"}, {"scope": "person", "person": "b:2"}, False),
        ({"scope": "agent"}, {"scope": "person", "person": "b:2"}, False),
        ({"scope": "channel", "conversation": "p/x"}, {"scope": "channel"}, False),
    ],
    ids=["alias", "stranger", "scope", "channel"],
)
async def test_only_what_is_remembered_for_the_same_people_is_compared(
    bench, first, second, is_known
):
    await bench.save(DAY, "a", **first, ids=(first.get("person"),))
    kept = await bench.save(DAY, "b", **second, ids=("a:1", "b:2"))
    assert isinstance(kept.event, MemoryTouched) == is_known


async def test_embeddings_find_what_the_words_do_not():
    bench = Bench(Embedder())
    await bench.save("Ana starts her day at eight.", "a")
    kept = await bench.save("Ana begins her day at eight.", "b")
    assert [one.why for one in kept.event.replaces] == ["duplicate"]


async def test_without_embeddings_the_words_decide():
    bench = Bench(Embedder(is_away=True))
    await bench.save(DAY, "a")
    assert isinstance((await bench.save(DAY, "b")).event, MemoryTouched)


async def test_what_is_not_worth_keeping_is_refused_and_nothing_is_stored(bench):
    with pytest.raises(NotWorthKeeping):
        await bench.save("Thanks!", heard=Heard())
    assert bench.events == []


# -- corrections --------------------------------------------------------------------------------


def wrong(id_="m-a"):
    return Neighbour(MemoryId(id_), "fact", DAY)


async def test_a_correction_is_stored_once_with_its_edge(bench):
    await bench.save(DAY, "a")
    for _ in range(2):
        candidate = bench.candidate(FRIDAY, "b")
        await bench.keeper.correct(PLACE, candidate, wrong(), Origin("b", since=0))
        bench.log._ids.clear()
    assert bench.types() == [MemorySaved, MemorySaved, MemoryLinked]
    assert [(one.memory_id, one.why) for one in bench.events[1].replaces] == [("m-a", "correction")]


async def test_what_is_not_valid_any_more_cannot_be_corrected(bench):
    await bench.save(DAY, "a")
    await bench.keeper.correct(PLACE, bench.candidate(FRIDAY, "b"), wrong(), Origin("b", since=0))
    with pytest.raises(Rejected):
        await bench.keeper.correct(
            PLACE, bench.candidate("It is Monday.", "c"), wrong(), Origin("c", since=0)
        )


async def test_a_retry_knows_its_event_by_its_id(bench):
    await bench.save()
    (recorded,) = bench.log.events
    assert recorded.envelope.id == keeping.ids.derived("saved", "k")
    assert recorded.envelope.id != EventId("k")


@pytest.mark.parametrize("is_projected", [False, True, None])
@pytest.mark.parametrize("how", ["replaced", "forgotten"])
async def test_what_was_said_before_it_was_forgotten_or_replaced_is_not_saved_again(
    bench, how, is_projected
):
    said_at = bench.keeper.writer.clock.now() - 1
    await bench.save(DAY, "first")
    if how == "replaced":
        await bench.save(FRIDAY, "second")
    else:
        gone = MemoryForgotten(memory_id=MemoryId("m-first"))
        await bench.log.append(memory_subject(PLACE), bench.keeper.writer.seal(gone))
    bench.known.seq = len(bench.log.events) if is_projected else 0
    bench.known.is_away = is_projected is None
    before = len(bench.events)
    with pytest.raises(NotWorthKeeping):
        await bench.save(DAY, "late", said_at=said_at)
    assert len(bench.events) == before
    kept = await bench.save(DAY, "anew")  # somebody says it now
    assert isinstance(kept.event, MemorySaved)
