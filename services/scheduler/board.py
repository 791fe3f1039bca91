"""Every job there is, folded from the log, and which of them is to be looked at next."""

import heapq
from collections.abc import ItemsView, Iterator

import structlog

from schemas.subjects import matching, parse
from services.runtime.event_log import Recorded
from services.runtime.jobs.cron import InvalidSchedule
from services.runtime.jobs.decider import Down, Wait, decide
from services.runtime.jobs.desk import ADAPTER
from services.runtime.jobs.job import Job, evolve

log = structlog.get_logger()

PATTERN = matching(adapter=ADAPTER, entity="channel")


class Board:
    """Jobs by subject, and a heap of when each wants to be looked at: no timer for each of them."""

    def __init__(self, jobs: dict[str, Job] | None = None, position: int = 0) -> None:
        """Begin with jobs as they were at a position, or with none."""
        self.position = position
        """The newest sequence that is folded."""
        self._jobs = jobs or {}
        self._wakes: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def jobs(self) -> ItemsView[str, Job]:
        """Return the jobs by subject."""
        return self._jobs.items()

    def job(self, subject: str) -> Job:
        """Return the job of a subject, new if nothing is known of it."""
        known = self._jobs.get(subject)
        return known if known is not None else Job(parse(subject).conversation or "")

    def take(self, recorded: Recorded) -> None:
        """Fold one event; when to look at its job is for `plan`."""
        self.position = max(self.position, recorded.seq)
        self._jobs[recorded.subject] = evolve(self.job(recorded.subject), recorded)

    def forget(self, subject: str) -> None:
        """Know nothing of a job any more."""
        self._jobs.pop(subject, None)
        self.set(subject, None)

    def plan(self, subject: str, *, now: int) -> None:
        """Work out when to look at a job, from how it stands.

        One that cannot be honoured here (an import may bring any definition, and the time zones of
        machines differ) is not looked at: the others must go on.
        """
        try:
            step = decide(self.job(subject), now=now, down=Down())
        except InvalidSchedule as error:
            log.warning("job.not_honoured", job=subject, reason=str(error))
            self.set(subject, None)
            return
        self.set(subject, step.until if isinstance(step, Wait) else now)

    def set(self, subject: str, wake: int | None) -> None:
        """Look at a job at this time; None for not before something happens."""
        if wake is None:
            self._wakes.pop(subject, None)
        elif self._wakes.get(subject) != wake:
            self._wakes[subject] = wake
            heapq.heappush(self._heap, (wake, subject))

    def plan_all(self, *, now: int) -> None:
        """Work it out for every job."""
        for subject in self._jobs:
            self.plan(subject, now=now)

    def next_wake(self) -> int | None:
        """Return when a job wants to be looked at next, UTC microseconds."""
        while self._heap and self._wakes.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: int) -> Iterator[str]:
        """Yield the subjects of jobs that are to be looked at by now, each once."""
        while (wake := self.next_wake()) is not None and wake <= now:
            _, subject = heapq.heappop(self._heap)
            del self._wakes[subject]
            yield subject
