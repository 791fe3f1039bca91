"""Put on the log what becomes of jobs that are due: of a few one by one, of many in batches."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from schemas.channel import CancelRequested
from schemas.schedule import OccurrenceEnded
from services.errors import Conflict, Transient
from services.runtime import ids
from services.runtime.behind import HistoryGone, check
from services.runtime.event_log import Append, EventLog, Recorded
from services.runtime.jobs.decider import Down, Record, Step, TimeOut, Wait, decide
from services.runtime.jobs.job import Job, evolve
from services.runtime.telemetry.context import begun_by
from services.runtime.writer import Writer
from services.scheduler.board import Board

MANY: Final = 8  # jobs: a batch takes the log about as long as so many appends
TOGETHER: Final = 200  # jobs in one batch; one that somebody else was faster with spoils it
BATCH: Final = 200  # records of one job that are appended at once, after an outage
BATCH_MOST: Final = 800  # records in one batch; JetStream takes 1,000
AGAIN_S: Final = 1.0  # before a job is looked at again whose record could not be stored
SOON_S: Final = 0.05  # before a job is looked at again that somebody else appended to

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Recording:
    """Records what is due.

    Every record expects the stream that it was decided on, in a batch too: of several schedulers
    exactly one wins, and what it cannot store is looked at again.
    """

    board: Board
    writer: Writer
    slots: asyncio.Semaphore
    down: Down
    """When schedulers were away."""

    async def settle(self, subjects: Sequence[str]) -> None:
        """Bring jobs up to date."""
        for begin in range(0, len(subjects), TOGETHER):
            rest = await self._together(subjects[begin : begin + TOGETHER])
            await asyncio.gather(*(self._settle(subject) for subject in rest))

    async def _together(self, subjects: Sequence[str]) -> Sequence[str]:
        """Record what is due of many jobs in one batch after the other.

        Returns:
            The jobs that are left to be settled each for itself.
        """
        if len(subjects) < MANY:
            return subjects
        alone: list[str] = []
        while subjects:
            decided: dict[str, list[Recorded]] = {}
            for subject in subjects:
                records, step = self._decided(subject, BATCH_MOST // len(subjects))
                if records:
                    decided[subject] = records
                elif isinstance(step, TimeOut):
                    alone.append(subject)
                else:
                    self._wait(subject, step)
            subjects = list(decided)
            try:
                if decided:
                    await self._append(decided)
            except Conflict:
                # Another scheduler was faster, at least with one of them. What it appended comes
                # by the tail; those that are due still are recorded without the others.
                await asyncio.sleep(SOON_S)
                return [*alone, *subjects]
            except Transient as error:
                self._again(subjects, error)
                break
        return alone

    async def _settle(self, subject: str) -> None:
        """Bring one job up to date."""
        async with self.slots:
            try:
                while await self._record(subject):
                    pass
            except Conflict:  # somebody was faster; what was appended comes by the tail
                await self._look_again(subject)
            except Transient as error:
                self._again([subject], error)

    async def _look_again(self, subject: str) -> None:
        """See to it that a job is looked at again whose record was refused."""
        try:
            await restand(self.board, self.writer.log, subject)
        except Transient as error:
            self._again([subject], error)
        else:
            if self.board.job(subject).seq:
                self._later(subject, SOON_S)

    def _again(self, subjects: Sequence[str], error: Transient) -> None:
        job = subjects[0]
        log.warning("occurrence.not_recorded", job=job, jobs=len(subjects), reason=str(error))
        for subject in subjects:
            self._later(subject, AGAIN_S)

    def _later(self, subject: str, seconds: float) -> None:
        self.board.set(subject, self.writer.clock.now() + round(seconds * 1_000_000))

    def _wait(self, subject: str, step: Step) -> None:
        until = step.until if isinstance(step, Wait) else self.writer.clock.now()
        self.board.set(subject, until)

    async def _record(self, subject: str) -> bool:
        """Append what follows from how a job stands; tell whether there may be more.

        Raises:
            Conflict: its stream has moved on.
            LogUnavailable, LogFull: it is not stored, or that is not known.
        """
        records, step = self._decided(subject, BATCH)
        if records:
            await self._append({subject: records})
        elif isinstance(step, TimeOut):
            await self._time_out(subject, step)
        else:
            self._wait(subject, step)
            return False
        return True

    def _decided(self, subject: str, most: int) -> tuple[list[Recorded], Step]:
        """Return a job's next records, each as if those before were stored, and what follows."""
        job = self.board.job(subject)
        now = self.writer.clock.now()
        records: list[Recorded] = []
        step = decide(job, now=now, down=self.down)
        while isinstance(step, Record) and len(records) < most:
            stops = isinstance(step.event, CancelRequested)
            trace = begun_by(step.cause) if stops else None  # the occurrence's, else its own
            envelope = self.writer.seal(step.event, cause=step.cause, traceparent=trace)
            recorded = Recorded(job.seq + 1, subject, envelope, step.event, b"")
            records.append(recorded)
            job = evolve(job, recorded)
            step = decide(job, now=now, down=self.down)
        return records, step

    async def _append(self, decided: dict[str, list[Recorded]]) -> None:
        """Append the records of jobs, all or none, and fold them.

        Raises:
            Conflict: the stream of one of them has moved on.
            LogUnavailable, LogFull: nothing is stored, or that is not known.
        """
        records = [record for each in decided.values() for record in each]
        appends = [
            Append(subject, record.envelope, None if place else self.board.job(subject).seq)
            for subject, each in decided.items()
            for place, record in enumerate(each)
        ]
        first, *rest = appends
        if rest or first.expected is None:
            last = await self.writer.log.append_batch(appends)
        else:
            last = await self.writer.log.append_if(first.subject, first.expected, first.envelope)
        for seq, record in enumerate(records, start=last - len(records) + 1):
            self.board.take(Recorded(seq, record.subject, record.envelope, record.event, b""))

    async def _time_out(self, subject: str, step: TimeOut) -> None:
        """End an occurrence that nobody ended in time."""
        job = self.board.job(subject)
        ended = OccurrenceEnded(
            occurrence=step.occurrence,
            outcome="timed_out",
            reason=step.reason,
            deliver_to=step.deliver_to,
        )
        id_ = ids.derived("occurrence ended", step.occurrence)
        trace = begun_by(step.occurrence)
        envelope = self.writer.seal(ended, id=id_, cause=step.occurrence, traceparent=trace)
        await self.writer.log.append_if(subject, job.seq, envelope)
        await self._reread(subject, job)

    async def _reread(self, subject: str, job: Job) -> None:
        """Fold what is stored: under an id that others use too, it may be theirs."""
        async for recorded in self.writer.log.read(subject, after=job.seq, fresh=True):
            self.board.take(recorded)


async def restand(board: Board, event_log: EventLog, subject: str) -> None:
    """Begin a job anew if what it stands on was erased: all that is decided on it is refused.

    Raises:
        LogUnavailable: whether it was cannot be seen now.
    """
    known = board.job(subject)
    if not known.seq:
        return
    try:
        await check(event_log, subject, known.seq)
    except HistoryGone:
        board.forget(subject)
        async for recorded in event_log.read(subject, fresh=True):
            board.take(recorded)
