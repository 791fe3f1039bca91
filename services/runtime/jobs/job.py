"""One job as its own stream tells it: what holds now, what is recorded, what goes on. Pure."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace  # several times faster than that of dataclasses: it is all here

from schemas.base import EventId, RunId
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    TurnStarted,
    WorkerConcluded,
    WorkerRequested,
)
from schemas.schedule import (
    JobDefined,
    JobResumed,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    Target,
)
from services.runtime.event_log import Recorded
from services.runtime.jobs.civil import SECOND
from services.runtime.jobs.expected import Segment, extend

FAILURES: Final = frozenset({"failed", "timed_out", "blocked"})


class Open(Struct, frozen=True):
    """An occurrence that fired and has not ended."""

    id: EventId
    due_at: int
    attempt: int
    started_at: int = 0
    """When its first turn began; 0 while it waits for one."""
    deliver_to: Target | None = None
    """Where its result is told, as it was said when it began."""
    runs: tuple[RunId, ...] = ()
    """Branches and workers at work for it that nobody has asked to stop."""


class Retry(Struct, frozen=True):
    """A failed occurrence that is to be tried again."""

    of: EventId
    due_at: int
    attempt: int
    at: int


class Job(Struct, frozen=True):
    """The fold of one job's stream, as far as deciding needs it."""

    name: str
    seq: int = 0
    segments: tuple[Segment, ...] = ()
    """Those that can still matter: the ones behind the last recorded time."""
    horizon: int = 0
    """Everything due up to this time is recorded, UTC microseconds."""
    open: tuple[Open, ...] = ()
    current: EventId | None = None
    """The occurrence of the newest turn."""
    failures: int = 0
    """Runs that failed in a row."""
    failed: EventId | None = None
    """The newest end that was a failure."""
    failed_at: int = 0
    retry: Retry | None = None
    missed: int = 0
    """Times missed since one last fired."""

    @property
    def now(self) -> Segment | None:
        """What holds now; None before there is a definition."""
        return self.segments[-1] if self.segments else None


def evolve(job: Job, recorded: Recorded) -> Job:  # noqa: PLR0911 - a case for every event
    """Fold one event of the job's stream; one that was folded already changes nothing."""
    if recorded.seq <= job.seq:
        return job
    job = replace(job, seq=recorded.seq)
    event, id_ = recorded.event, recorded.envelope.id
    match event:
        case OccurrenceFired():
            return _fired(job, id_, event)
        case OccurrenceSkipped(due_at=due):
            return _behind(job, due)
        case OccurrenceMissed(due_at=due):
            return replace(_behind(job, due), missed=job.missed + 1)
        case OccurrenceEnded():
            return _ended(job, recorded, event)
        case TurnStarted(occurrence=occurrence):
            at = recorded.envelope.at
            started = tuple(
                replace(it, started_at=it.started_at or at) if it.id == occurrence else it
                for it in job.open
            )
            return replace(job, open=started, current=occurrence)
        case BranchRequested(purpose="persistence"):
            return job
        case BranchRequested(run_id=run_id) | WorkerRequested(run_id=run_id):
            return _runs(job, run_id, begins=True)
        case (
            BranchConcluded(run_id=run_id)
            | WorkerConcluded(run_id=run_id)
            | CancelRequested(run_id=run_id)
        ):
            return _runs(job, run_id, begins=False)
        case _:
            return _redefined(job, recorded)


def _redefined(job: Job, recorded: Recorded) -> Job:
    segments = extend(job.segments, recorded)
    if segments == job.segments:
        return job
    job = replace(job, segments=segments, retry=None)
    if isinstance(recorded.event, JobDefined | JobResumed):
        return replace(job, failures=0)
    return job


def _fired(job: Job, id_: EventId, event: OccurrenceFired) -> Job:
    told = job.now.definition.deliver_to if job.now is not None else None
    opened = Open(id_, event.due_at, event.attempt, deliver_to=told)
    job = replace(job, open=(*job.open, opened), retry=None)
    if event.manual or event.attempt > 1:
        return job
    return replace(_behind(job, event.due_at), missed=0)


def _behind(job: Job, due: int) -> Job:
    """Move the horizon, and drop what no time behind it belongs to."""
    horizon = max(job.horizon, due)
    segments = job.segments
    while len(segments) > 1 and segments[0].until is not None and segments[0].until <= horizon:
        segments = segments[1:]
    return replace(job, horizon=horizon, segments=segments)


def _ended(job: Job, recorded: Recorded, event: OccurrenceEnded) -> Job:
    ended = next((it for it in job.open if it.id == event.occurrence), None)
    if ended is None:
        return job
    job = replace(job, open=tuple(it for it in job.open if it is not ended))
    if event.budget is not None:
        return replace(
            job, retry=None
        )  # it says nothing of the job, and more tries would be in vain
    if event.outcome not in FAILURES:
        return replace(job, failures=0, retry=None)
    at = recorded.envelope.at
    job = replace(job, failures=job.failures + 1, failed=recorded.envelope.id, failed_at=at)
    if job.now is None or job.now.standing != "active":
        return job
    definition = job.now.definition
    if ended.attempt > definition.retries:
        return job
    again = at + round(definition.retry_delay_s * SECOND)
    return replace(job, retry=Retry(ended.id, ended.due_at, ended.attempt + 1, again))


def _runs(job: Job, run_id: RunId, *, begins: bool) -> Job:
    def moved(it: Open) -> Open:
        rest = tuple(run for run in it.runs if run != run_id)
        mine = begins and it.id == job.current
        return replace(it, runs=(*rest, run_id) if mine else rest)

    return replace(job, open=tuple(moved(it) for it in job.open))
