"""Record what becomes of each time at which a job is due.

Consumes:  the streams of all jobs, and the clock
Emits:     occurrence_fired, occurrence_skipped, occurrence_missed; ends of runs that took too long
Never:     leads, or needs to: every record expects the stream that it was decided on, so of any
           number of replicas exactly one wins
"""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from schemas.channel import CancelRequested
from schemas.envelope import Envelope
from schemas.schedule import OccurrenceEnded
from services.errors import Conflict, Transient
from services.runtime import ids
from services.runtime.cancelling import end
from services.runtime.config import SchedulerSettings
from services.runtime.conversations import Snapshots
from services.runtime.event_log import Append, Recorded
from services.runtime.jobs.decider import Down, Record, Step, TimeOut, Wait, decide
from services.runtime.jobs.job import Job, evolve
from services.runtime.telemetry.context import begun_by
from services.runtime.writer import Writer
from services.scheduler.board import PATTERN, Board

ALIVE: Final = "scheduler.alive"  # key of the mark that a scheduler runs: never rename
LOOK_S: Final = 1.0  # longest sleep: a clock that is set forward is noticed this soon
AWAY_S: Final = 30.0  # a process that was not scheduled for this long did not run
BATCH: Final = 200  # records of one job that are appended at once, after an outage
AGAIN_S: Final = 1.0  # before a job is looked at again whose record could not be stored
SOON_S: Final = 0.05  # before a job is looked at again that somebody else appended to

log = structlog.get_logger()


class Scheduler:
    """Keeps all jobs in memory; `run_once` does everything that is due."""

    def __init__(
        self,
        writer: Writer,
        marks: Snapshots,
        settings: SchedulerSettings,
        stopping: asyncio.Event,
    ) -> None:
        self.board = Board()
        self._writer = writer
        self._marks = marks
        self._settings = settings
        self._stopping = stopping
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._moved = asyncio.Event()
        self._loaded = asyncio.Event()
        self._down = Down()
        self._seen_at = 0

    async def run(self) -> None:
        """Record what is due, until asked to stop."""
        await self.load()
        following = asyncio.create_task(self._follow())
        try:
            while not self._stopping.is_set():
                if following.done():
                    await following
                await self.run_once()
                await self._sleep()
        finally:
            await end(following)

    async def load(self) -> None:
        """Read all jobs, and when a scheduler was last known to run."""
        self.board = Board()
        async for recorded in self._writer.log.read(PATTERN, fresh=True):
            self.board.take(recorded)
        now = self._writer.clock.now()
        mark = await self._marks.load(ALIVE)
        after = int(mark) if mark is not None and mark.isdigit() else 0
        self._down, self._seen_at = Down(after, now), now
        self.board.plan_all(now=now)
        self._loaded.set()

    async def run_once(self) -> None:
        """Record everything that is due now, of all jobs; what cannot be stored is tried again."""
        now = self._writer.clock.now()
        if now - self._seen_at > AWAY_S * 1_000_000:
            self._down = Down(self._seen_at, now)
        self._seen_at = now
        due = list(self.board.pop_due(now))
        if due:
            await asyncio.gather(*(self._settle(subject) for subject in due))
            self._seen_at = self._writer.clock.now()  # waiting for the log is not being away

    async def mark(self) -> None:
        """Say every so often that a scheduler runs, once we know when one last did."""
        waiting = {asyncio.create_task(it.wait()) for it in (self._loaded, self._stopping)}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await end(*waiting)
        while not self._stopping.is_set():
            await self._marks.save(ALIVE, b"%d" % self._writer.clock.now())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.alive_s):
                    await self._stopping.wait()

    async def _follow(self) -> None:
        async for recorded in self._writer.log.tail(PATTERN, after=self.board.position):
            self.take(recorded)

    def take(self, recorded: Recorded) -> None:
        """Fold an event that somebody appended, and look at its job again."""
        self.board.take(recorded)
        self.board.plan(recorded.subject, now=self._writer.clock.now())
        self._moved.set()

    async def _sleep(self) -> None:
        """Wait for the next time due or for news."""
        wake = self.board.next_wake()
        left_s = LOOK_S
        if wake is not None:
            left_s = min(LOOK_S, max(0.0, (wake - self._writer.clock.now()) / 1_000_000))
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._moved.wait()
        self._moved.clear()

    # -- one job -----------------------------------------------------------------------------

    async def _settle(self, subject: str) -> None:
        """Bring one job up to date."""
        async with self._slots:
            try:
                while await self._record(subject):
                    pass
            except Conflict:  # somebody was faster; what was appended comes by the tail
                self._later(subject, SOON_S)
            except Transient as error:
                log.warning("occurrence.not_recorded", job=subject, reason=str(error))
                self._later(subject, AGAIN_S)

    def _later(self, subject: str, seconds: float) -> None:
        self.board.set(subject, self._writer.clock.now() + round(seconds * 1_000_000))

    async def _record(self, subject: str) -> bool:
        """Append what follows from how a job stands; tell whether there may be more.

        Raises:
            Conflict: its stream has moved on.
            LogUnavailable, LogFull: it is not stored, or that is not known.
        """
        job = self.board.job(subject)
        now = self._writer.clock.now()
        records, step = self._decided(subject, job, now)
        if not records:
            if isinstance(step, TimeOut):
                await self._time_out(subject, job, step)
                return True
            self.board.set(subject, step.until if isinstance(step, Wait) else now)
            return False
        last = await self._append(subject, job.seq, [record.envelope for record in records])
        for seq, record in enumerate(records, start=last - len(records) + 1):
            self.board.take(Recorded(seq, subject, record.envelope, record.event, b""))
        return True

    def _decided(self, subject: str, job: Job, now: int) -> tuple[list[Recorded], Step]:
        """Return a job's next records, each as if those before were stored, and what follows."""
        records: list[Recorded] = []
        step = decide(job, now=now, down=self._down)
        while isinstance(step, Record) and len(records) < BATCH:
            stops = isinstance(step.event, CancelRequested)
            trace = begun_by(step.cause) if stops else None  # the occurrence's, else its own
            envelope = self._writer.seal(step.event, cause=step.cause, traceparent=trace)
            recorded = Recorded(job.seq + 1, subject, envelope, step.event, b"")
            records.append(recorded)
            job = evolve(job, recorded)
            step = decide(job, now=now, down=self._down)
        return records, step

    async def _append(self, subject: str, expected: int, envelopes: list[Envelope]) -> int:
        if len(envelopes) == 1:
            return await self._writer.log.append_if(subject, expected, envelopes[0])
        first, *rest = envelopes
        return await self._writer.log.append_batch(
            [Append(subject, first, expected), *(Append(subject, it) for it in rest)]
        )

    async def _time_out(self, subject: str, job: Job, step: TimeOut) -> None:
        """End an occurrence that nobody ended in time."""
        ended = OccurrenceEnded(
            occurrence=step.occurrence,
            outcome="timed_out",
            reason=step.reason,
            deliver_to=step.deliver_to,
        )
        id_ = ids.derived("occurrence ended", step.occurrence)
        trace = begun_by(step.occurrence)
        envelope = self._writer.seal(ended, id=id_, cause=step.occurrence, traceparent=trace)
        await self._writer.log.append_if(subject, job.seq, envelope)
        await self._reread(subject, job)

    async def _reread(self, subject: str, job: Job) -> None:
        """Fold what is stored: under an id that others use too, it may be theirs."""
        async for recorded in self._writer.log.read(subject, after=job.seq, fresh=True):
            self.board.take(recorded)
