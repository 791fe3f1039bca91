"""Many jobs that are due in the same instant, several schedulers, and a real log."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from schemas.schedule import JobDefined, OccurrenceFired, Schedule
from services.runtime.config import SchedulerSettings
from services.runtime.event_log import EVERYTHING, Append
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.writer import Writer
from services.scheduler.service import Scheduler
from tests.support.fake_clock import FakeClock
from tests.support.jobs import JOB, MINUTE, NINE
from tests.support.replicas import FakeSnapshots

pytestmark = pytest.mark.integration

JOBS = [str(JOB._replace(conversation=f"job{number}")) for number in range(450)]


async def test_of_three_schedulers_that_act_at_once_each_time_has_one_record(empty_nats_url):
    clock, marks = FakeClock(NINE), FakeSnapshots()
    async with AsyncExitStack() as stack:
        logs = []
        for _ in range(3):
            connection = await Connection.open(empty_nats_url)
            stack.push_async_callback(connection.close)
            logs.append(JetStreamLog(connection))
        await logs[0].create()
        once = JobDefined(
            schedule=Schedule(once_at=NINE + MINUTE), prompt="look", effective_at=NINE
        )
        writer = Writer(logs[0], clock, "test")
        await logs[0].append_batch([Append(job, writer.seal(once)) for job in JOBS])
        schedulers = [
            Scheduler(Writer(log, clock, f"s{n}"), marks, SchedulerSettings(), asyncio.Event())
            for n, log in enumerate(logs)
        ]
        for scheduler in schedulers:
            await scheduler.load()
        clock.advance(60)
        await asyncio.gather(*(scheduler.run_once() for scheduler in schedulers))
        fired = [
            recorded.subject
            async for recorded in logs[0].read(EVERYTHING, fresh=True)
            if isinstance(recorded.event, OccurrenceFired)
        ]
    assert Counter(fired) == Counter(JOBS)
