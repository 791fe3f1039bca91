"""How a worker ended comes to its task once, whatever dies on the way."""

import asyncio

import pytest

from schemas.channel import WorkerConcluded
from schemas.subjects import Subject
from schemas.tasks import TaskAttemptEnded
from services.errors import LogUnavailable
from services.runtime.event_log import Delivery
from services.runtime.tasks.desk import Author, Desk, NewTask, Owner
from services.runtime.writer import Writer
from services.worker.outcomes import TaskOutcomes
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog

ATLAS = Owner("acme", "atlas")
ANA = Author("person:portal:ana")
CHANNEL = str(Subject("acme", "atlas", "portal", "tasks"))


class Worker:
    """A task with a worker, and processes that tell tasks of ends."""

    def __init__(self):
        self.log, self.bodies = FakeLog(), FakeBodies()
        self.writer = Writer(self.log, FakeClock(), "worker")

    def desk(self):
        return Desk(self.writer, self.bodies)

    def outcomes(self):
        return TaskOutcomes(self.writer, self.desk(), asyncio.Event())

    async def begin(self):
        await self.desk().create(ATLAS, NewTask("x"), ANA)
        task = await self.desk().run(ATLAS, "T1", ANA)
        return task.at_work.run_id

    async def conclude(self, run_id, outcome="succeeded"):
        event = WorkerConcluded(run_id=run_id, outcome=outcome, result="it is so")
        seq = await self.log.append(CHANNEL, self.writer.seal(event))
        return self.log.events[seq - 1]

    @property
    def ends(self):
        return [e for e in self.log.events if isinstance(e.event, TaskAttemptEnded)]


async def test_an_end_is_kept_with_what_led_to_it_however_often_it_is_delivered():
    worker = Worker()
    concluded = await worker.conclude(await worker.begin())
    handlers = [worker.outcomes() for _ in range(3)]
    await asyncio.gather(*(each.handle(Delivery(concluded, 1)) for each in handlers))
    await worker.outcomes().handle(Delivery(concluded, 2))
    (end,) = worker.ends
    assert (end.event.state, end.event.result) == ("done", "it is so")
    assert (end.envelope.cause, end.envelope.actor) == (concluded.envelope.id, "worker")


@pytest.mark.parametrize("stored", [True, False])
async def test_a_death_around_the_append_is_made_good_by_the_next_delivery(stored):
    worker = Worker()
    concluded = await worker.conclude(await worker.begin(), "failed")
    real = worker.log._store

    async def dying(appends):
        if stored:
            await real(appends)
        raise LogUnavailable

    worker.log._store = dying
    with pytest.raises(LogUnavailable):
        await worker.outcomes().handle(Delivery(concluded, 1))
    worker.log._store = real
    await worker.outcomes().handle(Delivery(concluded, 2))
    (end,) = worker.ends
    assert (end.event.outcome, end.event.state) == ("failed", "backlog")


async def test_the_end_of_a_worker_on_no_task_is_none_of_its_business():
    worker = Worker()
    await worker.begin()
    await worker.outcomes().handle(Delivery(await worker.conclude("another"), 1))
    assert worker.ends == []
