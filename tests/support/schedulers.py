"""Schedulers that come and go, with clocks that disagree, over one log."""

import asyncio
from dataclasses import dataclass, field

from schemas.base import AgentId
from schemas.config import AgentDefined
from schemas.schedule import OccurrenceEnded, OccurrenceFired, OccurrenceMissed, OccurrenceSkipped
from schemas.subjects import Subject
from services.errors import LogUnavailable
from services.runtime.agents import Agents, config_subject
from services.runtime.config import SchedulerSettings
from services.runtime.conversations import Conversations
from services.runtime.jobs.desk import By, Jobs
from services.runtime.jobs.expected import expected, timeline
from services.runtime.jobs.request import JobRequest
from services.runtime.writer import Writer
from services.scheduler.keeping import keep
from services.scheduler.service import Scheduler
from tests.support.builders import SECOND
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.jobs import JOB, utc
from tests.support.replicas import FakeSnapshots

RECORDS = (OccurrenceFired, OccurrenceSkipped, OccurrenceMissed)
BEGIN = utc("2026-01-01")


@dataclass
class SkewedClock:
    """A clock that is wrong by so much."""

    true: FakeClock
    off_s: float = 0.0

    def now(self) -> int:
        return self.true.now() + round(self.off_s * SECOND)

    def monotonic(self) -> float:
        return self.true.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.true.sleep(seconds)


@dataclass
class World:
    """A log, the true time, and schedulers that come and go."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(BEGIN))
    log: FakeLog = field(default_factory=FakeLog)
    marks: FakeSnapshots = field(default_factory=FakeSnapshots)
    running: dict[str, Scheduler] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    """Up to where each has followed the log."""
    ended_up_to: int = 0

    def jobs(self, off_s: float = 0.0) -> Jobs:
        writer = Writer(self.log, SkewedClock(self.clock, off_s), "person:ana")
        conversations = Conversations(self.log, FakeSnapshots())
        return Jobs(writer, FakeBodies(), conversations, Agents(self.log))

    async def define(self, *jobs: Subject, **said) -> None:
        """Define an agent and its jobs, `JOB` when none is named."""
        agent = AgentDefined(agent=AgentId("atlas"), name="Atlas")
        writer = Writer(self.log, self.clock, "test")
        await self.log.append(config_subject("acme"), writer.seal(agent))
        for job in jobs or (JOB,):
            await self.jobs().create(job, JobRequest(prompt="look", **said), By("person:ana"))

    async def start(self, name: str, off_s: float = 0.0, log: object = None) -> None:
        """Start a scheduler, on a log of its own way where one is given."""
        writer = Writer(log or self.log, SkewedClock(self.clock, off_s), name)
        scheduler = Scheduler(writer, self.marks, SchedulerSettings(), asyncio.Event())
        await scheduler.load()
        self.running[name], self.heard[name] = scheduler, scheduler.board.position

    async def keep(self, name: str) -> None:
        """Let a scheduler keep how jobs stand, for the next start of any."""
        scheduler = self.running[name]
        if scheduler._folded is not None:
            await keep(scheduler.board, scheduler._folded, self.marks)

    def kill(self, name: str) -> None:
        self.running.pop(name, None)

    async def look(self) -> None:
        """Let every scheduler that runs read on, then all act at once, until nothing moves."""
        before = -1
        while before != len(self.log.events):
            before = len(self.log.events)
            for name, scheduler in self.running.items():
                news = self.log.events[self.heard[name] :]
                self.heard[name] += len(news)
                for recorded in news:
                    if ".cron." in recorded.subject:
                        scheduler.take(recorded)
            await asyncio.gather(*(it.run_once() for it in self.running.values()))

    async def end_runs(self) -> None:
        """End every run that goes on."""
        writer = Writer(self.log, self.clock, "channel")
        since, self.ended_up_to = self.ended_up_to, len(self.log.events)
        fired = [r for r in self.log.events[since:] if isinstance(r.event, OccurrenceFired)]
        for it in fired:
            ended = OccurrenceEnded(occurrence=it.envelope.id, outcome="succeeded")
            await self.log.append(it.subject, writer.seal(ended))

    def records(self, job: Subject = JOB):
        """Return what became of the times at which a job was due."""
        return [
            r.event
            for r in self.log.events
            if r.subject == str(job)
            and isinstance(r.event, RECORDS)
            and not getattr(r.event, "manual", False)
        ]

    def assert_recorded_is_expected(self, job: Subject = JOB) -> None:
        events = [it for it in self.log.events if it.subject == str(job)]
        recorded = [it.due_at for it in self.records(job) if getattr(it, "attempt", 1) == 1]
        until = max([self.clock.now(), *recorded])
        due = [it.due_at for it in expected(timeline(events), 0, until) if not it.held]
        assert recorded == due


class HalfLog:
    """A log that stores the next append and does not say so, or does not store it."""

    def __init__(self, log: FakeLog, *, stores: bool) -> None:
        self._log = log
        self._stores = stores
        self.failures = 1

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def append_if(self, subject, expected, envelope):
        if self.failures:
            self.failures -= 1
            if self._stores:
                await self._log.append_if(subject, expected, envelope)
            raise LogUnavailable
        return await self._log.append_if(subject, expected, envelope)
