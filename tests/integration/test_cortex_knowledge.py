"""A synthesis is asked for once for each state of what is known, and never because time passes."""

import asyncio

import pytest
from structlog.testing import capture_logs

from schemas.base import MemoryId, RunId
from schemas.cortex import KnowledgeSynthesised, SynthesisFailed, SynthesisRequested
from schemas.memory import MemoryForgotten
from schemas.run import RunStarted
from schemas.subjects import Subject
from services.runtime.briefings import subject_of
from services.runtime.config import Config, CortexSettings
from services.runtime.live import changes
from services.runtime.sweep import QUIET_S
from tests.support.cortex_stand import Stand

pytestmark = pytest.mark.integration

KNOWLEDGE = subject_of("acme", "atlas", "knowledge")
MEMORY = Subject("acme", "atlas", entity="memory")
HOUR_S = 3_600


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


@pytest.fixture
async def stand(pool):
    settings = CortexSettings(synthesis_memories=3, synthesis_interval_s=HOUR_S)
    stand = Stand(pool, config=Config(cortex=settings))
    await stand.define()
    return stand


def asked(stand) -> list[SynthesisRequested]:
    return stand.written(SynthesisRequested)


async def conclude(stand, text="Everything is green.", *, failed=False) -> None:
    request = asked(stand)[-1]
    about = {"run_id": request.run_id, "graph": request.graph}
    if failed:
        await stand.add(KNOWLEDGE, SynthesisFailed(**about, reason="no model"))
    else:
        await stand.add(
            KNOWLEDGE, KnowledgeSynthesised(**about, memories=request.memories, text=text)
        )


async def remember(stand, *texts, **fields) -> list[MemoryId]:
    return [await stand.remember(text, **fields) for text in texts]


async def test_few_memories_are_listed_and_not_put_together(stand):
    await remember(stand, "one", "two")
    await stand.tend()
    assert asked(stand) == []
    assert '- fact: "one"' in stand.briefing()


async def test_enough_of_them_are_put_together_the_most_important_first(stand):
    ids = [
        *await remember(stand, "one", "two"),
        *await remember(stand, "three", importance=0.9),
    ]
    await remember(stand, "mine", scope="person", person="portal:ana")
    await stand.tend()
    (request,) = asked(stand)
    assert request.memories == (ids[2], ids[0], ids[1])
    assert request.source == '- fact: "three"\n- fact: "one"\n- fact: "two"'


async def test_the_synthesis_is_shown_instead_of_the_list(stand):
    await remember(stand, "one", "two", "three")
    await stand.tend()
    await conclude(stand)
    stand.clock.advance(600)
    await stand.tend()
    assert "## What is known\n- Everything is green." in stand.briefing()


async def test_when_one_of_its_memories_is_forgotten_the_list_is_shown_again(stand):
    one, *_ = await remember(stand, "one", "two", "three")
    await stand.tend()
    await conclude(stand, "One and two and three.")
    stand.clock.advance(600)
    await stand.tend()
    assert "One and two" in stand.briefing()
    await stand.add(MEMORY, MemoryForgotten(memory_id=one))
    await stand.tend()  # at once, whatever the interval
    assert "One and two" not in stand.briefing()
    assert '- fact: "two"' in stand.briefing()


async def test_the_same_state_is_never_asked_for_again(stand):
    await remember(stand, "one", "two", "three")
    await stand.tend()
    await conclude(stand)
    for _ in range(5):
        stand.clock.advance(2 * HOUR_S)
        await stand.say("something happens")
        await stand.tend()
    assert len(asked(stand)) == 1


async def test_a_change_is_put_together_at_once_when_the_last_time_is_long_ago(stand):
    await remember(stand, "one", "two", "three")
    await stand.tend()
    await conclude(stand)
    stand.clock.advance(HOUR_S)
    await remember(stand, "four")
    await stand.tend()
    assert len(asked(stand)) == 2
    assert asked(stand)[0].graph != asked(stand)[1].graph


async def test_one_that_comes_too_early_waits_for_something_to_happen_and_not_for_time(stand):
    replica = stand.replica()
    await remember(stand, "one", "two", "three")
    await stand.tend(replica)
    await conclude(stand)
    await stand.tend(replica)
    await remember(stand, "four")
    for _ in range(50):
        await stand.tend(replica)
        stand.clock.advance(HOUR_S)
    assert len(asked(stand)) == 1
    await stand.say("good morning")
    await stand.tend(replica)
    assert len(asked(stand)) == 2


async def test_the_roll_up_at_midnight_is_no_occasion(stand):
    replica = stand.replica()
    await remember(stand, "one", "two", "three")
    await stand.tend(replica)
    await conclude(stand)
    await remember(stand, "four")
    await stand.tend(replica)
    for _ in range(30):
        stand.clock.advance(HOUR_S)
        await stand.tend(replica)
    assert len(asked(stand)) == 1


async def test_after_a_failure_only_a_change_is_an_occasion(stand):
    await remember(stand, "one", "two", "three")
    await stand.tend()
    await conclude(stand, failed=True)
    stand.clock.advance(2 * HOUR_S)
    await stand.say("something happens")
    await stand.tend()
    assert len(asked(stand)) == 1
    await remember(stand, "four")
    await stand.tend()
    assert len(asked(stand)) == 2


async def test_replicas_that_look_at_once_ask_once(stand):
    await remember(stand, "one", "two", "three")
    await stand.project()
    looks = [stand.replica().tending.run_once(stand.clock.now()) for _ in range(4)]
    await asyncio.gather(*looks)
    assert len(asked(stand)) == 1


async def test_while_one_is_under_way_no_other_is_asked_for(stand):
    await remember(stand, "one", "two", "three")
    await stand.tend()
    stand.clock.advance(2 * HOUR_S)
    await remember(stand, "four")
    await stand.tend()
    assert len(asked(stand)) == 1


async def test_it_can_be_switched_off(pool):
    settings = CortexSettings(synthesis=False, synthesis_memories=1)
    stand = Stand(pool, config=Config(cortex=settings))
    await stand.define()
    await remember(stand, "one", "two")
    await stand.tend()
    assert asked(stand) == []


async def test_a_run_that_nobody_holds_any_more_is_handed_on_after_two_looks(stand):
    replica = stand.replica()
    await remember(stand, "one", "two", "three")
    await stand.tend(replica)
    stand.clock.advance(QUIET_S + 1)
    await stand.tend(replica)
    assert stand.handled == []
    await stand.tend(replica)
    (delivery,) = stand.handled
    assert delivery.redelivered
    assert delivery.recorded.event == asked(stand)[0]


async def test_a_run_that_moves_or_is_listened_to_is_left_alone(stand):
    replica = stand.replica()
    await remember(stand, "one", "two", "three")
    await stand.tend(replica)
    run_id = RunId(asked(stand)[0].run_id)
    stand.clock.advance(QUIET_S + 1)
    started = RunStarted(run_id=run_id, kind="synthesis", owner="c-1")
    await stand.add(KNOWLEDGE.of("synthesis", run_id), started)
    for _ in range(3):
        await stand.tend(replica)
    stand.clock.advance(QUIET_S + 1)
    listening = asyncio.ensure_future(anext(stand.live.listen(changes(run_id))))
    await asyncio.sleep(0)
    for _ in range(3):
        await stand.tend(replica)
    listening.cancel()
    assert stand.handled == []
