"""A scheduler that starts from what was kept stands where one stands that read all of the log."""

import asyncio

import pytest
from structlog.testing import capture_logs

from schemas.schedule import OccurrenceFired
from services.runtime.config import SchedulerSettings
from services.runtime.jobs.desk import By
from services.runtime.jobs.request import JobRequest
from services.runtime.writer import Writer
from services.scheduler import service
from services.scheduler.keeping import PARTS, keep, kept
from services.scheduler.service import Scheduler
from tests.support.fake_log import FakeLog
from tests.support.jobs import JOB
from tests.support.replicas import FakeSnapshots
from tests.support.schedulers import World
from tests.support.servers import until

JOBS = [JOB._replace(conversation=f"job{number}") for number in range(40)]


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


class Counting(FakeLog):
    """A log that counts what is read of it from where."""

    def __init__(self):
        super().__init__()
        self.tailed_after = []

    async def tail(self, pattern, *, after=0):
        self.tailed_after.append(after)
        async for recorded in super().tail(pattern, after=after):
            yield recorded


async def lived(**said) -> World:
    """Return jobs that have run for a while, kept by their scheduler."""
    world = World(log=Counting())
    await world.define(*JOBS, every="1m", **said)
    await world.start("one")
    for _ in range(3):
        world.clock.advance(61)
        await world.look()
        await world.end_runs()
    await world.look()
    scheduler = world.running["one"]
    await keep(scheduler.board, scheduler._folded, world.marks)
    return world


async def loaded(world, marks) -> Scheduler:
    writer = Writer(world.log, world.clock, "other")
    scheduler = Scheduler(writer, marks, SchedulerSettings(), asyncio.Event())
    await scheduler.load()
    return scheduler


async def assert_as_if_all_was_read(world) -> Scheduler:
    scheduler = await loaded(world, world.marks)
    everything = await loaded(world, FakeSnapshots())
    assert dict(scheduler.board.jobs()) == dict(everything.board.jobs())
    assert scheduler.board.next_wake() == everything.board.next_wake()
    return scheduler


async def test_only_what_came_since_is_read():
    world = await lived()
    position = world.running["one"].board.position
    world.clock.advance(61)
    await world.look()
    await world.jobs().edit(JOBS[0], JobRequest(every="7m"), By("person:ana"))
    await world.jobs().pause(JOBS[1], By("person:ana"))
    await assert_as_if_all_was_read(world)
    assert world.log.tailed_after[-2:] == [position, 0]


async def test_where_nothing_came_since_nothing_is_read():
    world = await lived()
    before = len(world.log.tailed_after)
    await loaded(world, world.marks)
    assert len(world.log.tailed_after) == before


async def test_parts_that_were_kept_at_different_moments_go_together():
    world = await lived()
    old = dict(world.marks.saved)
    world.clock.advance(61)
    await world.look()
    await world.end_runs()
    await world.look()
    scheduler = world.running["one"]
    await keep(scheduler.board, scheduler._folded, world.marks)
    for number, (key, part) in enumerate(old.items()):
        if number % 2:
            world.marks.saved[key] = part
    await assert_as_if_all_was_read(world)


@pytest.mark.parametrize("damage", ["missing", "torn"])
async def test_a_part_that_is_missing_or_damaged_means_that_all_is_read(damage):
    world = await lived()
    keys = [key for key in world.marks.saved if "jobs" in key]
    assert len(keys) == PARTS
    if damage == "missing":
        del world.marks.saved[keys[7]]
    else:
        world.marks.saved[keys[7]] = world.marks.saved[keys[7]][:-9]
    await assert_as_if_all_was_read(world)
    assert world.log.tailed_after[-2:] == [0, 0]


async def test_what_was_kept_of_another_log_is_not_believed():
    world = await lived()
    other = World(marks=world.marks)
    await other.define(JOBS[0], every="1m")
    for _ in range(200):
        await other.jobs().edit(JOBS[0], JobRequest(every="2m"), By("person:ana"))
        await other.jobs().edit(JOBS[0], JobRequest(every="1m"), By("person:ana"))
    assert len(other.log.events) > world.running["one"].board.position
    assert not dict((await kept(other.log, world.marks)).jobs())
    await assert_as_if_all_was_read(other)


async def test_jobs_that_were_erased_and_defined_anew_meanwhile_begin_anew():
    world = await lived()
    world.clock.advance(61)
    await world.look()  # what runs now is erased with the rest
    scheduler = world.running["one"]
    await keep(scheduler.board, scheduler._folded, world.marks)
    world.log.purge(str(JOBS[3]))
    await world.define(JOBS[3], every="1m")
    scheduler = await loaded(world, world.marks)
    job = scheduler.board.job(str(JOBS[3]))
    assert job.open == ()
    before = len(world.log.events)
    world.clock.advance(61)
    await scheduler.run_once()
    fired = [
        recorded
        for recorded in world.log.events[before:]
        if recorded.subject == str(JOBS[3]) and isinstance(recorded.event, OccurrenceFired)
    ]
    assert len(fired) == 1


async def test_jobs_that_were_erased_meanwhile_are_forgotten_when_they_are_due():
    world = await lived()
    world.log.purge(str(JOBS[3]))
    scheduler = await loaded(world, world.marks)
    world.clock.advance(61)
    await scheduler.run_once()
    assert not scheduler.board.job(str(JOBS[3])).seq
    assert scheduler.board.job(str(JOBS[4])).seq


async def test_a_running_scheduler_keeps_its_jobs_every_so_many_events(monkeypatch):
    monkeypatch.setattr(service, "EVERY", 10)
    world = World()
    await world.define(*JOBS, every="1m")
    stopping = asyncio.Event()
    writer = Writer(world.log, world.clock, "one")
    scheduler = Scheduler(writer, world.marks, SchedulerSettings(), stopping)
    running = [asyncio.create_task(it) for it in (scheduler.run(), scheduler.mark())]

    async def are_kept() -> bool:
        return len(dict((await kept(world.log, world.marks)).jobs())) == len(JOBS)

    await until(are_kept)
    stopping.set()
    await asyncio.gather(*running)
