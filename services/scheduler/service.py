"""Record what becomes of each time at which a job is due.

Consumes:  the streams of all jobs, and the clock
Emits:     occurrence_fired, occurrence_skipped, occurrence_missed; ends of runs that took too long
Never:     leads, or needs to: every record expects the stream that it was decided on, so of any
           number of replicas exactly one wins
"""

import asyncio
from contextlib import suppress
from typing import Final

from schemas.schedule import JobDefined
from services.runtime.cancelling import end
from services.runtime.closing import closing
from services.runtime.config import SchedulerSettings
from services.runtime.conversations import Snapshots
from services.runtime.event_log import Recorded
from services.runtime.jobs.decider import Down
from services.runtime.writer import Writer
from services.scheduler.board import PATTERN, Board
from services.scheduler.keeping import EVERY, keep, kept
from services.scheduler.recording import Recording, restand

ALIVE: Final = "scheduler.alive"  # key of the mark that a scheduler runs: never rename
LOOK_S: Final = 1.0  # longest sleep: a clock that is set forward is noticed this soon
AWAY_S: Final = 30.0  # a process that was not scheduled for this long did not run


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
        self._folded: Recorded | None = None
        """The newest event that came in the order of the log: nothing before it is left to fold."""
        self._since_kept = 0
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
        last = await self._writer.log.last(PATTERN, fresh=True)
        self.board = Board() if last is None else await kept(self._writer.log, self._marks)
        if last is not None and last.seq > self.board.position:
            await self._read_up_to(last.seq)
        now = self._writer.clock.now()
        mark = await self._marks.load(ALIVE)
        after = int(mark) if mark is not None and mark.isdigit() else 0
        self._down, self._seen_at = Down(after, now), now
        self.board.plan_all(now=now)
        self._loaded.set()

    async def _read_up_to(self, seq: int) -> None:
        """Fold what came since; a tail is much faster than `read` over long distances."""
        known = {subject for subject, _ in self.board.jobs()}
        async with closing(self._writer.log.tail(PATTERN, after=self.board.position)) as events:
            async for recorded in events:
                if recorded.subject in known and isinstance(recorded.event, JobDefined):
                    await restand(self.board, self._writer.log, recorded.subject)
                self._fold(recorded)
                if recorded.seq >= seq:
                    return

    def _fold(self, recorded: Recorded) -> None:
        self.board.take(recorded)
        self._folded = recorded
        self._since_kept += 1

    async def run_once(self) -> None:
        """Record everything that is due now, of all jobs; what cannot be stored is tried again."""
        now = self._writer.clock.now()
        if now - self._seen_at > AWAY_S * 1_000_000:
            self._down = Down(self._seen_at, now)
        self._seen_at = now
        due = list(self.board.pop_due(now))
        if due:
            recording = Recording(self.board, self._writer, self._slots, self._down)
            await recording.settle(due)
            self._seen_at = self._writer.clock.now()  # waiting for the log is not being away

    async def mark(self) -> None:
        """Say every so often that a scheduler runs, once we know when one last did."""
        waiting = {asyncio.create_task(it.wait()) for it in (self._loaded, self._stopping)}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await end(*waiting)
        while not self._stopping.is_set():
            await self._marks.save(ALIVE, b"%d" % self._writer.clock.now())
            if self._since_kept >= EVERY and self._folded is not None:
                self._since_kept = 0
                await keep(self.board, self._folded, self._marks)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.alive_s):
                    await self._stopping.wait()

    async def _follow(self) -> None:
        async for recorded in self._writer.log.tail(PATTERN, after=self.board.position):
            if isinstance(recorded.event, JobDefined):  # perhaps in the place of an erased one
                await restand(self.board, self._writer.log, recorded.subject)
            self.take(recorded)

    def take(self, recorded: Recorded) -> None:
        """Fold an event that somebody appended, and look at its job again."""
        self._fold(recorded)
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
