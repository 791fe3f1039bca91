"""Each new memory is linked to the older ones that it is most like, once, at a cost of its own."""

import asyncio

import pytest
from psycopg.errors import UndefinedTable
from structlog.testing import capture_logs

from projections import memories
from schemas.base import BodyRef
from schemas.cortex import MemoriesAssociated
from schemas.memory import MemoryForgotten, MemoryLinked
from schemas.subjects import Subject
from services.cortex import associations
from services.cortex.associations import A_PASS
from services.cortex.similarity import Similarity
from services.projector.indexing import Indexer
from services.runtime.cancelling import end
from services.runtime.clock import SystemClock
from services.runtime.config import Config, CortexSettings, EmbeddingSettings
from services.runtime.database import using
from services.runtime.embedding import EmbedderUnavailable
from services.runtime.fast_embedder import FastEmbedder
from tests.support.cortex_stand import Stand
from tests.support.model_folder import FOLDER, needs_model
from tests.support.replicas import Killed, MortalLog
from tests.support.servers import until

pytestmark = pytest.mark.integration

MEMORY = Subject("acme", "atlas", entity="memory")


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


@pytest.fixture
async def stand(pool):
    stand = Stand(pool)
    await stand.define()
    return stand


async def link(stand, replica=None) -> int:
    await stand.project()
    done = await (replica or stand.replica()).associations.run_once(stand.clock.now())
    await stand.project()
    return done


def links(stand) -> set[tuple[str, str]]:
    return {(event.memory_id, event.to) for event in stand.written(MemoryLinked)}


async def test_memories_that_are_alike_are_linked_from_the_newer_to_the_older(stand):
    old = await stand.remember("the release day is Thursday")
    await stand.remember("Ana prefers tea in the morning")
    new = await stand.remember("the release day is always Thursday")
    assert await link(stand) == 3
    assert links(stand) == {(new, old)}
    (event,) = stand.written(MemoryLinked)
    assert event.relation == "related_to"
    assert 0.5 <= event.weight <= 1
    (done,) = stand.written(MemoriesAssociated)
    assert (len(done.memory_ids), done.links) == (3, 1)


async def test_a_second_pass_finds_nothing_to_do(stand):
    await stand.remember("the release day is Thursday")
    await stand.remember("the release day is always Thursday")
    await link(stand)
    events = len(stand.log.events)
    assert await link(stand) == 0
    assert len(stand.log.events) == events


async def test_the_position_is_kept_by_no_process(stand):
    await stand.remember("the release day is Thursday")
    await link(stand, stand.replica())
    new = await stand.remember("the release day is always Thursday")
    await link(stand, stand.replica())
    assert [event.memory_ids[-1] for event in stand.written(MemoriesAssociated)][1] == new
    assert len(stand.written(MemoryLinked)) == 1


async def test_replicas_that_do_a_pass_at_once_do_it_once(stand):
    for number in range(6):
        await stand.remember(f"the release day is Thursday {number}")
    await stand.project()
    passes = [stand.replica().associations.run_once(0) for _ in range(4)]
    assert sorted(await asyncio.gather(*passes)) == [0, 0, 0, 6]
    made = [(event.memory_id, event.to) for event in stand.written(MemoryLinked)]
    assert made
    assert len(made) == len({*made})
    assert len(stand.written(MemoriesAssociated)) == 1


async def test_a_read_model_that_lags_does_not_make_a_pass_be_done_twice(stand):
    await stand.remember("the release day is Thursday")
    await stand.remember("the release day is always Thursday")
    await stand.project()
    await stand.replica().associations.run_once(0)
    assert await stand.replica().associations.run_once(0) == 0
    assert len(stand.written(MemoryLinked)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_around_the_append_does_all_of_a_pass_once(stand, when):
    await stand.remember("the release day is Thursday")
    await stand.remember("the release day is always Thursday")

    class Dying:
        shared = stand
        dead = False
        stored_by = {}  # noqa: RUF012 - of this one object

        def check(self):
            if self.dead:
                raise Killed

        async def reach(self, point):
            self.dead = self.dead or point.when == when
            self.check()

    stand.stored_by = {}
    with pytest.raises(Killed):
        await link(stand, stand.replica(log=MortalLog(stand.log, Dying())))
    stand.log._ids.clear()
    await link(stand)
    assert len(stand.written(MemoryLinked)) == 1
    assert len(stand.written(MemoriesAssociated)) == 1


async def test_queries_grow_with_new_memories_and_not_with_all(stand, monkeypatch):
    asked = []
    for name in ("recall", "by_id"):
        real = getattr(memories, name)

        async def counting(*args, _real=real, _name=name, **how):
            asked.append(_name)
            return await _real(*args, **how)

        monkeypatch.setattr(associations.memories, name, counting)
    compared = []

    class Counting(Similarity):
        async def weights(self, text, meant, others):
            compared.append(len(others))
            return await super().weights(text, meant, others)

    replica = stand.replica(similarity=Counting())

    async def cost(new) -> tuple[int, int]:
        asked.clear()
        compared.clear()
        for number in range(new):
            await stand.remember(f"thing {number} of {len(stand.log.events)} is green")
        while await link(stand, replica):
            pass
        return len(asked), max(compared)

    first, _ = await cost(20)
    second, most = await cost(20)
    third, again = await cost(40)
    assert (first, second, third) == (40, 40, 80)  # one to read it, one to find others
    assert max(most, again) <= 2 * CortexSettings().links + 1


async def test_more_than_a_pass_takes_several(stand):
    for number in range(A_PASS + 5):
        await stand.remember(f"thing {number} is green")
    replica = stand.replica()
    assert [await link(stand, replica) for _ in range(3)] == [A_PASS, 5, 0]


async def test_no_memory_has_more_links_than_the_setting(pool):
    stand = Stand(pool, config=Config(cortex=CortexSettings(links=2)))
    await stand.define()
    for number in range(8):
        await stand.remember(f"the release day is Thursday {number}")
    await link(stand)
    made = [event.memory_id for event in stand.written(MemoryLinked)]
    assert max(made.count(id_) for id_ in made) == 2


async def test_what_one_person_keeps_is_linked_to_nothing_of_anothers(stand):
    text = "the release day is Thursday"
    of_ana = await stand.remember(text, scope="person", person="portal:ana")
    of_ben = await stand.remember(text, scope="person", person="portal:ben")
    of_room = await stand.remember(text, scope="channel", conversation="discord/ops")
    of_all = await stand.remember(text)
    again = await stand.remember(f"{text} again", scope="person", person="portal:ana")
    await link(stand)
    assert links(stand) == {(again, of_ana), (again, of_all)}
    assert of_ben not in {id_ for pair in links(stand) for id_ in pair}
    assert of_room not in {id_ for pair in links(stand) for id_ in pair}


async def test_agents_are_linked_each_for_itself(stand):
    await stand.define("acme", "zed")
    await stand.remember("the release day is Thursday", agent="zed", scope="tenant")
    await stand.remember("the release day is Thursday")
    await link(stand)
    assert stand.written(MemoryLinked) == []
    assert len(stand.written(MemoriesAssociated, agent="zed")) == 1


async def test_what_is_forgotten_before_it_was_compared_is_not_linked(stand):
    await stand.remember("the release day is Thursday")
    gone = await stand.remember("the release day is always Thursday")
    await stand.add(MEMORY, MemoryForgotten(memory_id=gone))
    await link(stand)
    assert links(stand) == set()
    assert await link(stand) == 0


async def test_a_text_that_is_kept_elsewhere_is_passed_over(stand):
    await stand.remember(BodyRef(sha256="ab" * 32, bytes=9))
    assert await link(stand) == 1
    assert await link(stand) == 0


class Embedder:
    """Vectors of two dimensions: about release days, and about everything else."""

    model = "test"
    dimensions = 2
    standing = "of two dimensions"

    def __init__(self) -> None:
        self.away = False
        self.texts = 0

    async def embed(self, texts):
        if self.away:
            raise EmbedderUnavailable("none")
        self.texts += len(texts)
        return [(1.0, 0.0) if "Thursday" in text else (0.6, 0.8) for text in texts]


async def test_with_vectors_their_cosine_is_the_weight(stand):
    await stand.remember("release on Thursday")
    await stand.remember("release is green")
    await stand.remember("every release: Thursday")
    await link(stand, stand.replica(similarity=Similarity(Embedder())))
    assert sorted(event.weight for event in stand.written(MemoryLinked)) == [0.6, 0.6, 1.0]


async def test_while_no_vectors_can_be_had_words_decide(stand):
    embedder = Embedder()
    embedder.away = True
    await stand.remember("the release day is Thursday")
    await stand.remember("the release day is always Thursday")
    await link(stand, stand.replica(similarity=Similarity(embedder)))
    assert len(stand.written(MemoryLinked)) == 1


@needs_model
async def test_what_means_the_same_is_linked_whatever_words_it_is_said_in(stand, tmp_path):
    embedder = FastEmbedder(EmbeddingSettings(path=FOLDER), tmp_path, SystemClock())
    old = await stand.remember("Our releases ship on Thursdays.")
    await stand.remember("Ana prefers tea in the morning.")
    await stand.project()
    indexer = asyncio.create_task(Indexer(stand.pool, embedder, SystemClock()).run())
    try:
        await until(lambda: indexed(stand, 2), timeout_s=60)
        new = await stand.remember("The day to deploy a new version is Thursday.")
        await link(stand, stand.replica(similarity=Similarity(embedder)))
    finally:
        await end(indexer)
    assert links(stand) == {(new, old)}


async def indexed(stand, count) -> bool:
    try:
        async with using(stand.pool) as conn:
            found = await conn.execute("SELECT count(*) FROM vectors")
            return await found.fetchone() == (count,)
    except UndefinedTable:  # the index makes it when it starts
        return False
