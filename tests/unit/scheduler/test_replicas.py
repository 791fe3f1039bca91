"""Any number of schedulers, away at random, with clocks that disagree: recorded is expected."""

from random import Random

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from structlog.testing import capture_logs

from schemas.schedule import (
    JobDefined,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    Schedule,
)
from services.errors import Rejected
from services.runtime.jobs.desk import By
from services.runtime.jobs.request import JobRequest
from services.runtime.writer import Writer
from tests.support.builders import SECOND
from tests.support.jobs import JOB
from tests.support.schedulers import BEGIN, HalfLog, World

HOUR = 3_600 * SECOND


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


async def live_through(seed: int, schedule: dict[str, str], step_s: int) -> World:
    """Live through a year in which schedulers die, clocks are off and people change their minds."""
    random = Random(seed)  # noqa: S311 - not for secrets
    world = World()
    misfire = random.choice(("skip", "once", "all"))
    overlap = random.choice(("skip", "queue", "allow"))
    await world.define(**schedule, misfire=misfire, overlap=overlap, zone="Europe/Berlin")
    names = {"one": 0.0, "two": random.uniform(-5, 5), "three": random.uniform(-5, 5)}
    while world.clock.now() < BEGIN + 365 * 24 * HOUR:
        world.clock.advance(step_s * random.choice((0.2, 1, 1, 1, 6)))
        for name, off_s in names.items():
            if name in world.running and random.random() < 0.1:
                world.kill(name)
            elif name not in world.running and random.random() < 0.2:
                await world.start(name, off_s)
        if random.random() < 0.05:
            await change_something(world, random)
        await world.look()
        if random.random() < 0.7:
            await world.end_runs()
        if world.running and random.random() < 0.05:
            await world.keep(random.choice(sorted(world.running)))
    await world.start("last", 5.0)
    await world.look()
    return world


async def change_something(world: World, random: Random) -> None:
    jobs, by = world.jobs(random.uniform(-5, 5)), By("person:ana")
    doing = random.randrange(5)
    try:
        match doing:
            case 0:
                await jobs.pause(JOB, by)
            case 1 | 2:
                await jobs.resume(JOB, by)
            case 3:
                every = random.choice(("5h", "7h"))
                await jobs.edit(JOB, JobRequest(every=every), by)
            case 4:
                await jobs.edit(JOB, JobRequest(cron="30 2,14 * * *"), by)
    except Rejected:
        pass


@hypothesis_settings(max_examples=6)
@given(seed=st.integers(0, 10**6))
async def test_a_year_with_outages_wrong_clocks_and_edits_records_what_is_expected(seed):
    world = await live_through(seed, {"cron": "30 2,14 * * *"}, 12 * 3_600)
    world.assert_recorded_is_expected()
    assert len(world.records()) > 50


async def test_of_two_replicas_one_records():
    world = World()
    await world.define(every="1m")
    await world.start("one")
    await world.start("two", off_s=5)
    for _ in range(30):
        world.clock.advance(10)
        await world.look()
        await world.end_runs()
    world.assert_recorded_is_expected()
    assert {type(it) for it in world.records()} == {OccurrenceFired}


@pytest.mark.parametrize("jump_s", [7_200, -7_200], ids=["forward", "back"])
async def test_a_clock_that_jumps_neither_repeats_nor_loses_a_time(jump_s):
    world = World()
    await world.define(every="10m")
    await world.start("one")
    for step in range(60):
        world.clock.advance(jump_s if step == 20 else 300)
        await world.look()
        await world.end_runs()
    world.assert_recorded_is_expected()


async def test_after_an_outage_everything_missed_is_recorded_at_once_with_when_nobody_ran():
    world = World()
    await world.define(every="1m")
    await world.start("one")
    world.clock.advance(61)
    await world.look()
    await world.end_runs()
    await world.marks.save("scheduler.alive", b"%d" % world.clock.now())
    down_from = world.clock.now()
    world.kill("one")
    world.clock.advance(600)
    await world.start("two")
    await world.look()
    missed = [it for it in world.records() if isinstance(it, OccurrenceMissed)]
    assert len(missed) == 9
    assert {(it.reason, it.down_from_at, it.down_to_at, it.policy) for it in missed} == {
        ("not_running", down_from, world.clock.now(), "once")
    }
    last = world.records()[-1]
    assert isinstance(last, OccurrenceFired)
    assert (last.due_at, last.stands_for) == (BEGIN + 11 * 60 * SECOND, 9)


@pytest.mark.parametrize("stores", [True, False], ids=["recorded", "not recorded"])
async def test_an_append_whose_answer_is_lost_is_neither_lost_nor_doubled(stores):
    world = World()
    await world.define(every="1m")
    log = HalfLog(world.log, stores=stores)
    await world.start("one", log=log)
    world.clock.advance(60)
    await world.look()
    world.clock.advance(2)
    await world.look()
    world.assert_recorded_is_expected()
    assert [type(it) for it in world.records()] == [OccurrenceFired]


async def test_a_scheduler_that_dies_between_due_and_recorded_leaves_it_to_the_next():
    world = World()
    await world.define(every="1m")
    await world.start("one")
    world.clock.advance(60)
    world.kill("one")
    await world.start("two")
    await world.look()
    world.assert_recorded_is_expected()
    assert [type(it) for it in world.records()] == [OccurrenceFired]


async def test_a_pause_in_the_second_that_it_is_due_keeps_it_from_running():
    world = World()
    await world.define(every="1m")
    await world.start("one")
    world.clock.advance(60.5)
    await world.jobs().pause(JOB, By("person:ana"), "enough")
    await world.look()
    assert [(it.reason, type(it)) for it in world.records()] == [("paused", OccurrenceSkipped)]
    world.assert_recorded_is_expected()


async def test_a_change_by_a_slow_clock_does_not_hold_for_what_is_recorded():
    world = World()
    await world.define(every="1m")
    await world.start("fast", off_s=4)
    world.clock.advance(57)
    await world.look()
    assert len(world.records()) == 1
    await world.jobs(off_s=-5).edit(JOB, JobRequest(every="1h"), By("person:ana"))
    await world.look()
    world.assert_recorded_is_expected()


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(cron="0 9 * * *", zone="Mars/Olympus"),
        Schedule(cron="0 9 * * *", start_at=10**25),
        Schedule(
            every_s=3_600,
            anchor_at=10**17,
            start_at=253_402_300_799_000_000,
            active_from="09:00",
            active_to="17:00",
        ),
    ],
    ids=["zone", "no_such_year", "behind_the_calendar"],
)
async def test_a_job_that_cannot_be_honoured_here_does_not_stop_the_others(schedule):
    world = World()
    await world.define(every="1m")
    broken = JobDefined(schedule=schedule, prompt="x", effective_at=1)
    writer = Writer(world.log, world.clock, "import")
    await world.log.append(str(JOB._replace(conversation="broken")), writer.seal(broken))
    await world.start("one")
    world.clock.advance(61)
    await world.look()
    world.assert_recorded_is_expected()
    assert [type(it) for it in world.records()] == [OccurrenceFired]


async def test_a_scheduler_that_cannot_reach_the_log_for_a_minute_records_late_and_says_so():
    world = World()
    await world.define(every="1m", misfire="skip")
    log = HalfLog(world.log, stores=False)
    log.failures = 15
    await world.start("one", log=log)
    for _ in range(120):
        await world.look()
        world.clock.advance(1)
    await world.look()
    world.assert_recorded_is_expected()
    first = world.records()[0]
    assert (type(first), first.reason) == (OccurrenceMissed, "late")
