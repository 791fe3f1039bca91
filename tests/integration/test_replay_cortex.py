"""What the cortex decided from read models is decided again from the log alone."""

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from projections.registry import PROJECTIONS
from schemas.cortex import BriefingWritten, DaySummarised, KnowledgeSynthesised, SynthesisRequested
from schemas.memory import MemoryForgotten
from schemas.subjects import Subject
from services.cli.commands import replay as replay_command
from services.cli.replaying.around import AroundThen
from services.cli.replaying.recording import Recording, of_log
from services.cli.replaying.replay import Replay
from services.cli.replaying.runs import not_compared, runs_of
from services.cortex import knowledge, layers, rollup
from services.cortex.reading import Around
from services.projector.applying import Member, take_in
from services.runtime.briefings import subject_of
from services.runtime.config import Config, CortexSettings
from tests.support.builders import BEN
from tests.support.cortex_stand import DIRECT, OPS, Stand
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies
from tests.support.stories import AGENTS, TENANTS, Story

pytestmark = pytest.mark.integration

HOUR_S = 3_600
CONFIG = Config(cortex=CortexSettings(synthesis_memories=3, synthesis_interval_s=HOUR_S))
MEMORY = Subject("acme", "atlas", entity="memory")
ZETA = OPS._replace(conversation="Zeta")


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


async def lived(pool) -> Stand:
    """Return three days of an agent, looked after every few minutes."""
    stand = Stand(pool, config=CONFIG)
    await stand.define()
    replica = stand.replica()
    for day in range(3):
        await stand.say("good morning")
        await stand.say("you too", author=BEN, where=ZETA)
        await stand.remember(f"the build {day} is green", importance=0.4 + day / 10)
        await stand.remember(f"the server is heron {day}", kind="identity")
        first = await stand.remember(f"Ana likes tea {day}", kind="preference", person="portal:ana")
        await stand.tend(replica)
        await stand.work(f"make it {day}", run=f"w{day}", outcome="failed" if day else "succeeded")
        await stand.send_file("notes.txt")
        await stand.say("between us", where=DIRECT, group=False)
        await stand.tend(replica)
        stand.clock.advance(600)
        await stand.tend(replica)
        await conclude(stand)
        await stand.tend(replica)
        stand.clock.advance(HOUR_S)
        await stand.add(MEMORY, MemoryForgotten(memory_id=first))
        await stand.say("forget it")
        await stand.tend(replica)
        stand.clock.advance(24 * HOUR_S)
        await stand.tend(replica)
    return stand


async def conclude(stand) -> None:
    """Answer the newest request, unless it is answered."""
    asked = stand.written(SynthesisRequested)
    if len(asked) > len(stand.written(KnowledgeSynthesised)):
        about = {"run_id": asked[-1].run_id, "graph": asked[-1].graph}
        told = KnowledgeSynthesised(**about, memories=asked[-1].memories, text="All is green.")
        await stand.add(subject_of("acme", "atlas", "knowledge"), told)


async def replayed(stand, *kinds, config=CONFIG):
    recording = Recording(stand.log.events, stand.bodies)
    found = await Replay(recording, config).all(runs_of(recording))
    return [run for run in found if run.kind in kinds]


def first(stand, kind):
    return next(each for each in stand.log.events if isinstance(each.event, kind))


@pytest.fixture
async def stand(pool):
    return await lived(pool)


async def test_days_briefings_and_requests_are_decided_again(stand):
    found = await replayed(stand, "day", "briefing", "synthesis")
    assert [(run.divergence, run.problem) for run in found] == [(None, "")] * len(found)
    counted = {kind: sum(run.kind == kind for run in found) for kind in ("day", "briefing")}
    assert counted["day"] == len(stand.written(DaySummarised)) >= 3
    assert counted["briefing"] == len(stand.briefings) >= 6
    asked = [run for run in found if run.kind == "synthesis"]
    assert asked
    assert all(run.steps == 1 for run in found)


async def test_a_briefing_of_a_read_model_that_was_a_little_behind_is_decided_again(pool):
    stand = Stand(pool, config=CONFIG)
    await stand.define()
    await stand.remember("the build is green")
    await stand.project()
    await stand.remember("the build is scarlet", importance=0.9)  # which is not projected yet
    await stand.replica().tending.run_once(stand.clock.now())
    assert "scarlet" not in stand.briefing()
    (run,) = await replayed(stand, "briefing")
    assert (run.divergence, run.steps) == (None, 1)


@pytest.mark.parametrize("kind", [DaySummarised, BriefingWritten, SynthesisRequested])
async def test_each_is_replayed_alone_with_all_that_it_was_made_of(stand, kind):
    last = [each for each in stand.log.events if isinstance(each.event, kind)][-1]
    id_ = getattr(last.event, "run_id", last.envelope.id)
    reads = await replay_command._reads(stand.log, "acme", id_)
    alone = await of_log(reads, stand.bodies)
    (run,) = [run for run in runs_of(alone) if run.run_id == id_]
    found = await Replay(alone, CONFIG).one(run)
    assert (found.divergence, found.problem, found.steps) == (None, "", 1)


async def test_a_roll_up_that_ranks_otherwise_is_found_at_its_day(stand, monkeypatch):
    monkeypatch.setattr(rollup, "_rank", lambda row: (0, 0.0))
    found = await replayed(stand, "day")
    assert found[0].divergence.seq == first(stand, DaySummarised).seq
    assert found[0].divergence.detail[0].startswith("lines:")


async def test_a_roll_up_that_waits_longer_is_found_to_do_nothing(stand, monkeypatch):
    monkeypatch.setattr(rollup, "GRACE_S", 48 * HOUR_S)
    found = await replayed(stand, "day")
    assert {run.divergence.now for run in found} == {"nothing"}


async def test_another_time_zone_is_found_at_the_first_day(stand):
    config = replace(CONFIG, cortex=replace(CONFIG.cortex, time_zone="Pacific/Auckland"))
    found = await replayed(stand, "day", config=config)
    assert found[0].divergence.seq == first(stand, DaySummarised).seq


async def test_a_briefing_that_is_worded_otherwise_is_found(stand, monkeypatch):
    monkeypatch.setattr(layers, "TEXT_CHARS", 12)
    found = await replayed(stand, "briefing")
    assert found[0].divergence.seq == first(stand, BriefingWritten).seq
    assert found[0].divergence.detail[0].startswith("layers:")


async def test_a_synthesis_that_is_asked_for_of_other_memories_is_found_at_the_request(
    stand, monkeypatch
):
    monkeypatch.setattr(knowledge, "MOST", 2)
    monkeypatch.setattr(knowledge, "memory_line", layers.memory_line)
    config = replace(CONFIG, cortex=replace(CONFIG.cortex, synthesis_memories=2))
    (run, *_) = await replayed(stand, "synthesis", config=config)
    assert run.divergence.seq == first(stand, SynthesisRequested).seq
    assert run.divergence.then.startswith("synthesis_requested")
    assert any(line.startswith("memories:") for line in run.divergence.detail)


async def test_a_synthesis_that_is_not_asked_for_any_more_is_found(stand):
    config = replace(CONFIG, cortex=replace(CONFIG.cortex, synthesis=False))
    (run, *_) = await replayed(stand, "synthesis", config=config)
    assert (run.divergence.step, run.divergence.now) == (1, "nothing")


async def test_what_no_replay_compares_is_counted(stand):
    await stand.replica().associations.run_once(stand.clock.now())
    recording = Recording(stand.log.events, stand.bodies)
    assert not_compared(recording) == {"passes over new memories": 1}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_is_folded_in_memory_is_what_the_read_model_says(pool, seed):
    story = Story(seed)
    events = story.tell(900)
    (projection,) = [each for each in PROJECTIONS if each.name == "activity"]
    there, then = Around(pool, FakeClock()), AroundThen(Recording(events, FakeBodies()))
    then.show(events[-1].seq)  # and back, as it is moved in a replay
    position = 0
    for end in (len(events) // 3, len(events) // 2, len(events)):
        async with pool.connection() as conn:
            await take_in(conn, Member(projection, position), events[position:end])
        position = end
        then.show(events[end - 1].seq)
        for tenant in TENANTS:
            for agent in AGENTS:
                where = (tenant, agent)
                assert await _told(then, where, events) == await _told(there, where, events)


async def _told(around, where, events):
    begin = events[len(events) // 4].envelope.at
    until = events[-1].envelope.at
    known = await around.remembered(*where, limit=60)
    return {
        "first": [await around.first_since(*where, begin=at) for at in (0, begin, until + 1)],
        "between": await around.between(*where, begin=begin, until=until),
        "few": await around.between(*where, begin=0, until=until, limit=3),
        "said": await around.said(*where, begin=0, until=until),
        "known": known,
        "identity": await around.remembered(*where, kinds=("identity",), limit=60),
        "gone": await around.gone(where[0], [it.ref for it in known] + ["m1"]),
        "places": sorted(
            await around.places(*where, since=0), key=lambda it: (it.adapter, it.conversation)
        ),
    }
