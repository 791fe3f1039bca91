"""What becomes of the times at which a job is due. Pure: the fold and the time in, one step out.

Consumes:  the fold of a job's stream
Emits:     occurrence_fired, occurrence_skipped or occurrence_missed, one for each time due and in
           order; cancel_requested and then the end of a run that takes too long
Never:     awaits, reads a clock, mints an id
"""

from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, TypeAlias

from schemas.base import EventId
from schemas.channel import CancelRequested
from schemas.schedule import (
    JobDefined,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    Target,
)
from services.runtime.jobs.civil import SECOND
from services.runtime.jobs.expected import Expected, following
from services.runtime.jobs.job import Job, Open
from services.runtime.jobs.schedule import run_at

MOST_OPEN: Final = 20  # occurrences of a job at once, queued ones included
OVERDUE_S: Final = 15.0  # the channel ends a run in time; after this the scheduler does


@dataclass(frozen=True, slots=True)
class Down:
    """The last stretch of time in which no scheduler is known to have run, UTC microseconds."""

    after: int = 0
    until: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """Put this on the job's stream."""

    event: OccurrenceFired | OccurrenceSkipped | OccurrenceMissed | CancelRequested
    cause: EventId


@dataclass(frozen=True, slots=True)
class TimeOut:
    """End an occurrence that took too long and that nobody else has ended."""

    occurrence: EventId
    reason: str
    deliver_to: Target | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before this time; None for as long as nothing new is recorded."""

    until: int | None


Step: TypeAlias = Record | TimeOut | Wait


def decide(job: Job, *, now: int, down: Down = Down(), used_up: str | None = None) -> Step:
    """Return the next step of a job.

    Args:
        job: The fold of its stream.
        now: UTC microseconds.
        down: When schedulers were away.
        used_up: Which budget has no room for a run now, in words; None where there is room.
    """
    if job.now is None:
        return Wait(None)
    wakes = []
    for it in job.open:
        ends = _limit(job.now.definition, it, now)
        if not isinstance(ends, int):
            return ends
        wakes += [ends] if it.started_at else []
    if job.retry is not None:
        if job.retry.at <= now and not job.open:
            return _again(job)
        if not job.open:
            wakes.append(job.retry.at)
    upcoming = list(islice(following(job.segments, job.horizon), 2))
    if upcoming:
        first = upcoming[0]
        acts_at = _acts_at(job, first)
        if acts_at <= now:
            return _budgeted(_due(job, first, upcoming[1:], now, down), used_up)
        wakes.append(acts_at)
    return Wait(min(wakes, default=None))


def _budgeted(record: Record, used_up: str | None) -> Record:
    """Let no run begin that no budget has room for; why else there is none comes first."""
    fired = record.event
    if used_up is None or not isinstance(fired, OccurrenceFired):
        return record
    skipped = OccurrenceSkipped(due_at=fired.due_at, reason="budget", detail=used_up)
    return Record(skipped, record.cause)


def _limit(definition: JobDefined, it: Open, now: int) -> int | Record | TimeOut:
    """Return when the time of an occurrence is up; what to do when it is.

    First its branches and workers are stopped: what they have so far comes back, and its next turn
    ends it with that. When there is no such turn, it is ended here.
    """
    deadline = it.started_at + round(definition.timeout_s * SECOND)
    overdue = deadline + round(OVERDUE_S * SECOND)
    reason = f"the time limit of {definition.timeout_s:g} s was reached"
    if not it.started_at or now < deadline:
        return deadline
    if it.runs:
        return Record(CancelRequested(run_id=it.runs[0], reason=reason), it.id)
    return overdue if now < overdue else TimeOut(it.id, reason, it.deliver_to)


def _acts_at(job: Job, it: Expected) -> int:
    return run_at(it.segment.definition.schedule, job.name, it.due_at)


def _again(job: Job) -> Record:
    retry = job.retry
    if retry is None or job.now is None:
        raise ValueError("there is nothing to try again")
    fired = OccurrenceFired(due_at=retry.due_at, attempt=retry.attempt, retry_of=retry.of)
    return Record(fired, retry.of)


def _due(job: Job, it: Expected, after_it: list[Expected], now: int, down: Down) -> Record:
    """Return what becomes of a time that has come."""
    current = job.now or it.segment
    cause, due = current.event, it.due_at
    if current.standing != "active":
        reason: Literal["paused", "deleted"] = current.standing
        skipped = OccurrenceSkipped(due_at=due, reason=reason, because=current.event)
        return Record(skipped, cause)
    definition = current.definition
    late = now - _acts_at(job, it)
    if late <= definition.grace_s * SECOND:
        return Record(_fire(job, due), cause)
    superseded = bool(after_it) and _acts_at(job, after_it[0]) <= now
    too_late = late > definition.misfire_window_s * SECOND
    if definition.misfire == "skip" or too_late or (definition.misfire == "once" and superseded):
        away = down.after <= due <= down.until
        missed = OccurrenceMissed(
            due_at=due,
            reason="not_running" if away else "late",
            down_from_at=down.after if away else 0,
            down_to_at=down.until if away else 0,
            policy=definition.misfire,
        )
        return Record(missed, cause)
    return Record(_fire(job, due, catching_up=definition.misfire == "all"), cause)


def _fire(job: Job, due: int, *, catching_up: bool = False) -> OccurrenceFired | OccurrenceSkipped:
    """Let it run, unless the breaker or an earlier run is in the way."""
    if job.now is None:
        return OccurrenceFired(due_at=due)
    definition = job.now.definition
    makes_up = definition.misfire == "once"
    fired = OccurrenceFired(due_at=due, stands_for=job.missed if makes_up else 0)
    if job.failures >= definition.breaker_failures:
        cooled = job.failed_at + round(definition.breaker_cooldown_s * SECOND)
        if due < cooled or job.open:
            return OccurrenceSkipped(due_at=due, reason="breaker", because=job.failed)
    if job.open:
        in_turn = definition.overlap != "skip" or catching_up
        if not in_turn or len(job.open) >= MOST_OPEN:
            return OccurrenceSkipped(due_at=due, reason="overlap", because=job.open[0].id)
    return fired
