"""When a schedule is due, as a pure function; and what it is refused for."""

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import Final

from schemas.schedule import Schedule
from services.runtime.jobs.civil import SECOND, civil, instant, times, zone_of
from services.runtime.jobs.cron import Cron, InvalidSchedule, parse

LONGEST_JITTER_S: Final = 3_600.0
FAR: Final = 50 * 366 * 86_400 * SECOND

_parsed = lru_cache(maxsize=4_096)(parse)


def check(schedule: Schedule) -> None:
    """Make sure that a schedule can be honoured in every part.

    Raises:
        InvalidSchedule: names everything that cannot.
    """
    problems = list(_problems(schedule))
    if problems:
        raise InvalidSchedule("; ".join(problems))


def _problems(schedule: Schedule) -> Iterator[str]:
    kinds = [schedule.cron is not None, schedule.every_s is not None, schedule.once_at is not None]
    if sum(kinds) != 1:
        yield "say exactly one of: a cron expression, an interval, a single time"
    for attempt in (lambda: zone_of(schedule.zone), lambda: _cron(schedule)):
        try:
            attempt()
        except InvalidSchedule as error:
            yield str(error)
    if schedule.every_s is not None and schedule.anchor_at is None:
        yield "an interval needs the time that it is counted from"
    if (schedule.active_from is None) != (schedule.active_to is None):
        yield "active hours need a beginning and an end"
    elif schedule.active_from is not None and schedule.active_from == schedule.active_to:
        yield f"active hours from {schedule.active_from} to the same time are empty or endless"
    start, end = schedule.start_at, schedule.end_at
    if start is not None and end is not None and start > end:
        yield "it ends before it starts"
    most = min(LONGEST_JITTER_S, float(schedule.every_s or LONGEST_JITTER_S))
    if schedule.jitter_s > most or (schedule.every_s and schedule.jitter_s == most):
        yield f"a jitter of {schedule.jitter_s:g} s is more than {most:g} s, or than the interval"


def _cron(schedule: Schedule) -> Cron | None:
    return _parsed(schedule.cron) if schedule.cron is not None else None


def dues(schedule: Schedule, after: int, until: int | None = None) -> Iterator[int]:
    """Yield when the schedule is due with `after` < time <= `until`, in UTC microseconds.

    Without `until` it looks 50 years ahead: hours and days that never meet come to an end too.

    Raises:
        InvalidSchedule: its times are behind the end of the calendar.
    """
    if schedule.start_at is not None:
        after = max(after, schedule.start_at - 1)
    if until is None:
        until = after + FAR
    if schedule.end_at is not None:
        until = min(until, schedule.end_at)
    always = schedule.active_from is None
    try:
        for due in _all(schedule, after):
            if due > until:
                return
            if always or is_active(schedule, due):
                yield due
    except OverflowError as error:
        raise InvalidSchedule("its times are behind the end of the calendar") from error


def _all(schedule: Schedule, after: int) -> Iterator[int]:
    if schedule.once_at is not None:
        return iter([schedule.once_at] if schedule.once_at > after else [])
    if schedule.every_s is not None:
        return _every(schedule, schedule.every_s * SECOND, after)
    cron = _cron(schedule)
    return times(cron, zone_of(schedule.zone), after) if cron else iter(())


def _every(schedule: Schedule, step: int, after: int) -> Iterator[int]:
    anchor = schedule.anchor_at or 0
    due = anchor if after < anchor else anchor + ((after - anchor) // step + 1) * step
    if schedule.active_from is None:
        yield from count(due, step)
    while True:
        yield due
        following = due + step
        if not is_active(schedule, following):  # whole nights are left out at once
            opens = _opens(schedule, following)
            following += -(-(opens - following) // step) * step
        due = following


def is_active(schedule: Schedule, at: int) -> bool:
    """Tell whether a time is within the active hours: the beginning is, the end is not."""
    if schedule.active_from is None or schedule.active_to is None:
        return True
    shown = f"{civil(at, zone_of(schedule.zone)):%H:%M}"
    if schedule.active_from < schedule.active_to:
        return schedule.active_from <= shown < schedule.active_to
    return shown >= schedule.active_from or shown < schedule.active_to


def _opens(schedule: Schedule, at: int) -> int:
    """Return when the active hours begin next behind `at`."""
    zone = zone_of(schedule.zone)
    opening = time.fromisoformat(schedule.active_from or "00:00")
    day = civil(at, zone).date()
    today = instant(datetime.combine(day, opening), zone)
    return (
        today if today >= at else instant(datetime.combine(day + timedelta(days=1), opening), zone)
    )


def run_at(schedule: Schedule, job: str, due: int) -> int:
    """Return when a time is acted on: its jitter later, the same in every process."""
    if not schedule.jitter_s:
        return due
    digest = blake2b(f"{job} {due}".encode(), digest_size=8).digest()
    return due + int.from_bytes(digest, "big") % round(schedule.jitter_s * SECOND)
