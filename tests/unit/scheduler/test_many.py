"""Many jobs that are due at once: in batches, each time recorded once, and no job for another."""

import asyncio

import pytest
from structlog.testing import capture_logs

from schemas.schedule import OccurrenceFired, OccurrenceMissed
from services.errors import LogUnavailable
from services.runtime.jobs.desk import By
from services.scheduler import recording
from tests.support.jobs import JOB
from tests.support.schedulers import World

MANY = [JOB._replace(conversation=f"job{number}") for number in range(210)]


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


class Counting:
    """A log that counts what is asked of it, and whose batches may fail."""

    def __init__(self, log):
        self._log = log
        self.batches = []
        self.appends = 0
        self.begun = asyncio.Event()
        self.fails = []
        """For each coming batch: whether its answer is lost `after` or `before` it is stored."""

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def append_if(self, subject, expected, envelope):
        self.appends += 1
        return await self._log.append_if(subject, expected, envelope)

    async def append_batch(self, appends):
        self.batches.append(len(appends))
        self.begun.set()
        fails = self.fails.pop(0) if self.fails else None
        if fails == "before":
            raise LogUnavailable
        seq = await self._log.append_batch(appends)
        if fails == "after":
            raise LogUnavailable
        return seq


def assert_each_has_its_records(world, count, jobs=MANY):
    for job in jobs:
        world.assert_recorded_is_expected(job)
        assert len(world.records(job)) == count


async def test_what_is_due_at_once_is_recorded_in_a_few_batches():
    world = World()
    log = Counting(world.log)
    await world.define(*MANY, every="1m")
    await world.start("one", log=log)
    world.clock.advance(60)
    await world.look()
    assert_each_has_its_records(world, 1)
    assert (log.batches, log.appends) == ([200, 10], 0)


async def test_what_an_outage_left_of_many_jobs_is_recorded_in_batches_that_the_log_takes():
    world = World()
    log = Counting(world.log)
    await world.define(*MANY, every="1m")
    world.clock.advance(10 * 60)
    await world.start("one", log=log)
    await world.look()
    assert_each_has_its_records(world, 10)
    assert max(log.batches) <= recording.BATCH_MOST
    for job in MANY:
        *missed, last = world.records(job)
        assert {type(it) for it in missed} == {OccurrenceMissed}
        assert (type(last), last.stands_for) == (OccurrenceFired, 9)


async def test_of_two_schedulers_with_many_jobs_due_each_time_has_one_record():
    world = World()
    await world.define(*MANY, every="1m")
    await world.start("one")
    await world.start("two", off_s=2)
    for _ in range(4):
        world.clock.advance(30)
        await world.look()
        await world.end_runs()
    assert_each_has_its_records(world, 2)


async def test_a_job_that_moved_on_unseen_does_not_hold_up_those_in_its_batch():
    world = World()
    await world.define(*MANY, every="1m")
    await world.start("one")
    world.clock.advance(60)
    moved = MANY[7]
    await world.jobs().pause(moved, By("person:ana"))
    await world.running["one"].run_once()
    others = [job for job in MANY if job is not moved]
    assert_each_has_its_records(world, 1, others)
    assert world.records(moved) == []
    world.clock.advance(1)
    await world.look()
    world.assert_recorded_is_expected(moved)


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_a_batch_whose_answer_is_lost_is_neither_lost_nor_doubled(lost):
    world = World()
    log = Counting(world.log)
    log.fails = [None, lost]
    await world.define(*MANY, every="1m")
    await world.start("one", log=log)
    world.clock.advance(60)
    await world.look()
    world.clock.advance(2)
    await world.look()
    assert_each_has_its_records(world, 1)


async def test_a_scheduler_that_dies_between_two_batches_leaves_the_rest_to_the_next():
    world = World()
    log = Counting(world.log)
    await world.define(*MANY, every="1m")
    await world.start("one", log=log)
    world.clock.advance(60)
    acting = asyncio.create_task(world.running["one"].run_once())
    await log.begun.wait()
    acting.cancel()
    await asyncio.gather(acting, return_exceptions=True)
    world.kill("one")
    assert sum(len(world.records(job)) for job in MANY) in {0, 200}
    await world.start("two")
    await world.look()
    assert_each_has_its_records(world, 1)
