"""What people, programs and models say of a job, and the definition that it comes to. Pure."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from schemas.base import Content
from schemas.schedule import JobDefined, Misfire, Overlap, Schedule, Target
from schemas.subjects import InvalidToken, encode
from services.runtime.jobs.civil import SECOND, instant, microseconds, zone_of
from services.runtime.jobs.cron import InvalidSchedule
from services.runtime.jobs.schedule import check, dues

UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(?:\d{1,9}\s*[smhdw]\s*)+")
_PART: Final = re.compile(r"(\d+)\s*([smhdw])")
_HOURS: Final = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
NOWHERE: Final = "none"
LONGEST_S: Final = 7 * 86_400.0
MOST_RETRIES: Final = 10
LAST_YEAR: Final = 2999  # of times that are asked for: the calendar goes on behind them

T = TypeVar("T")


class JobRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A job as it is asked for; what is left out is usual, or stays as it was."""

    prompt: (
        Annotated[str, Meta(min_length=1, description="What each run is to do, on its own feet.")]
        | None
    ) = None
    cron: Annotated[
        str | None,
        Meta(description="Five fields: minute, hour, day, month, weekday; or @daily and the like."),
    ] = None
    every: Annotated[
        str | None, Meta(description="Interval instead of cron: `30m`, `1h30m`, `2d`.")
    ] = None
    at: Annotated[
        str | None,
        Meta(description="A single time instead of cron, in the zone: `2026-05-01 09:00`."),
    ] = None
    zone: Annotated[str | None, Meta(description="IANA time zone, `Europe/Berlin`.")] = None
    start: Annotated[str | None, Meta(description="Not before this time; `none`: none.")] = None
    end: Annotated[str | None, Meta(description="Not after this time; `none`: none.")] = None
    active: Annotated[
        str | None, Meta(description="Only between these hours: `09:00-17:00`; `none`: any.")
    ] = None
    jitter: Annotated[str | None, Meta(description="Longest random delay: `5m`.")] = None
    misfire: Annotated[
        Misfire | None,
        Meta(description="Times missed while nothing ran: run none, one for them, or all."),
    ] = None
    misfire_window: Annotated[
        str | None, Meta(description="How late a missed time may still run: `1d`.")
    ] = None
    grace: Annotated[
        str | None, Meta(description="How late a time may begin and count as on time: `10s`.")
    ] = None
    overlap: Annotated[
        Overlap | None,
        Meta(description="Due while an earlier run goes on: skip it, queue it, or allow both."),
    ] = None
    timeout: Annotated[str | None, Meta(description="Longest run: `10m`.")] = None
    inactivity: Annotated[str | None, Meta(description="Longest step of a run: `10m`.")] = None
    retries: Annotated[int, Meta(ge=0, le=MOST_RETRIES)] | None = None
    retry_delay: Annotated[str | None, Meta(description="Pause before it is tried again.")] = None
    breaker_failures: (
        Annotated[int, Meta(ge=1, le=100, description="Failures in a row that hold it back.")]
        | None
    ) = None
    breaker_cooldown: Annotated[str | None, Meta(description="How long: `1h`.")] = None
    deliver_to: Annotated[
        str | None,
        Meta(description="Conversation for the results, `adapter/conversation`; `none`: nowhere."),
    ] = None
    model: (
        Annotated[
            str,
            Meta(
                pattern=r"^([A-Za-z0-9_.-]+/\S+|none)$",
                max_length=200,
                description="`provider/name`; `none`.",
            ),
        ]
        | None
    ) = None


def named(job: str) -> str:
    """Return the name of a job when it can be one.

    Raises:
        InvalidSchedule: it cannot.
    """
    try:
        encode(job)
    except InvalidToken as error:
        raise InvalidSchedule(f"a job cannot be named like this: {error}") from error
    if not job.isprintable() or set("/[]") & set(job) or job != job.strip():
        raise InvalidSchedule("a job's name has only visible characters, no slash and no brackets")
    return job


def define(  # noqa: PLR0913 - what is asked for, of what, when and where
    asked: JobRequest,
    before: JobDefined | None,
    *,
    now: int,
    effective_at: int,
    prompt: Content | None,
    zone: str = "UTC",
    made_in: Target | None = None,
) -> JobDefined:
    """Return the definition that a request comes to.

    Args:
        asked: What was said.
        before: The definition that it edits; None for a new job.
        now: UTC microseconds.
        effective_at: What it holds from.
        prompt: The prompt as it is stored, where one is asked for.
        zone: The usual time zone.
        made_in: The conversation in which a new job is asked for; an edit leaves it as it was.

    Raises:
        InvalidSchedule: it cannot be honoured.
    """
    base = before or JobDefined(
        schedule=Schedule(zone=zone), prompt="", effective_at=0, made_in=made_in
    )
    schedule = _schedule(asked, base.schedule, effective_at)
    check(schedule)
    if schedule.once_at is not None and schedule.once_at <= now and schedule != base.schedule:
        raise InvalidSchedule(f"{asked.at or 'that time'} is over")
    if next(dues(schedule, effective_at), None) is None and schedule != base.schedule:
        raise InvalidSchedule("it would never be due")
    found = replace(
        base,
        schedule=schedule,
        prompt=base.prompt if prompt is None else prompt,
        effective_at=effective_at,
        model=_cleared(asked.model, base.model),
        deliver_to=base.deliver_to if asked.deliver_to is None else target(asked.deliver_to),
        misfire=asked.misfire or base.misfire,
        overlap=asked.overlap or base.overlap,
        retries=base.retries if asked.retries is None else asked.retries,
        breaker_failures=asked.breaker_failures or base.breaker_failures,
        **dict(_durations(asked)),
    )
    if not found.prompt:
        raise InvalidSchedule("a job needs a prompt: what each run is to do")
    if found.inactivity_s > found.timeout_s and asked.inactivity is None:
        found = replace(found, inactivity_s=found.timeout_s)
    return found


def _schedule(asked: JobRequest, base: Schedule, effective_at: int) -> Schedule:
    if asked.zone is not None:
        base = replace(base, zone=asked.zone)
    zone_of(base.zone)
    if sum(kind is not None for kind in (asked.cron, asked.every, asked.at)) > 1:
        raise InvalidSchedule("say one of cron, every and at")
    if asked.cron is not None:
        base = replace(base, cron=asked.cron, every_s=None, once_at=None, anchor_at=None)
    if asked.every is not None:
        every = seconds(asked.every)
        if every < 1:
            raise InvalidSchedule("the shortest interval is 1 s")
        anchor = base.anchor_at if base.every_s == every else None
        base = replace(base, cron=None, every_s=every, once_at=None, anchor_at=anchor)
    if asked.at is not None:
        once_at = moment(asked.at, base.zone)
        base = replace(base, cron=None, every_s=None, once_at=once_at, anchor_at=None)
    if asked.start is not None:
        base = replace(base, start_at=_moment(asked.start, base.zone))
    if asked.end is not None:
        base = replace(base, end_at=_moment(asked.end, base.zone))
    if asked.active is not None:
        opens, closes = _hours(asked.active)
        base = replace(base, active_from=opens, active_to=closes)
    if asked.jitter is not None:
        base = replace(base, jitter_s=float(seconds(asked.jitter)))
    if base.every_s is not None and base.anchor_at is None:
        base = replace(base, anchor_at=base.start_at or effective_at)
    return base


def _durations(asked: JobRequest) -> Iterator[tuple[str, float]]:
    for field, said, least in (
        ("misfire_window_s", asked.misfire_window, 0),
        ("grace_s", asked.grace, 0),
        ("timeout_s", asked.timeout, 1),
        ("inactivity_s", asked.inactivity, 1),
        ("retry_delay_s", asked.retry_delay, 0),
        ("breaker_cooldown_s", asked.breaker_cooldown, 0),
    ):
        if said is None:
            continue
        value = float(seconds(said))
        if not least <= value <= LONGEST_S * (52 if field == "misfire_window_s" else 1):
            raise InvalidSchedule(f"{field.removesuffix('_s')} cannot be {said}")
        yield field, value


def _cleared(asked: str | None, before: str | None) -> str | None:
    if asked is None:
        return before
    return None if asked == NOWHERE else asked


def target(said: str) -> Target | None:
    """Return the conversation that `adapter/conversation` names; None for `none`.

    Raises:
        InvalidSchedule: it names none.
    """
    if said == NOWHERE:
        return None
    adapter, slash, conversation = said.partition("/")
    try:
        encode(adapter)
        encode(conversation)
    except InvalidToken as error:
        raise InvalidSchedule(f"{said!r} is no conversation: {error}") from error
    if not slash or adapter == "cron":
        raise InvalidSchedule(f"{said!r} is no conversation; write `adapter/conversation`")
    return Target(adapter=adapter, conversation=conversation)


def seconds(said: str) -> int:
    """Return a length of time such as `1h30m` in seconds.

    Raises:
        InvalidSchedule: it is none.
    """
    text = said.strip().lower()
    if not _DURATION.fullmatch(text):
        raise InvalidSchedule(f"{said!r} is no length of time; write `30s`, `90m`, `1h30m`, `2d`")
    return sum(int(number) * UNITS[unit] for number, unit in _PART.findall(text))


def moment(said: str, zone: str) -> int:
    """Return a time such as `2026-05-01 09:00` as UTC microseconds; in `zone` if it has none.

    Raises:
        InvalidSchedule: it is none.
    """
    try:
        found = datetime.fromisoformat(said.strip())
    except ValueError as error:
        raise InvalidSchedule(f"{said!r} is no time; write `2026-05-01 09:00`") from error
    at = -1
    if 1970 <= found.year <= LAST_YEAR:
        at = microseconds(found) if found.tzinfo else instant(found, zone_of(zone))
    if at < 0:
        raise InvalidSchedule(f"{said!r} is not between 1970 and {LAST_YEAR}")
    return at // SECOND * SECOND


def _moment(said: str, zone: str) -> int | None:
    return None if said == NOWHERE else moment(said, zone)


def _hours(said: str) -> tuple[str | None, str | None]:
    if said == NOWHERE:
        return None, None
    found = _HOURS.fullmatch(said.strip())
    if (
        not found
        or any(int(h) > 23 for h in found.group(1, 3))
        or any(int(m) > 59 for m in found.group(2, 4))
    ):
        raise InvalidSchedule(f"{said!r} are no active hours; write `09:00-17:00`")
    return f"{int(found[1]):02}:{found[2]}", f"{int(found[3]):02}:{found[4]}"
