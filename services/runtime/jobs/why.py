"""Why a job ran when it did, and why it did not when it should have. Pure.

Joins what the definition events say should have happened with what is recorded, and names the
cause of every difference.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from operator import attrgetter
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from schemas.base import EventId, Outcome
from services.runtime.jobs.civil import MINUTE, SECOND, civil, zone_of
from services.runtime.jobs.expected import Expected, Segment, expected_dues
from services.runtime.jobs.job import FAILURES
from services.runtime.jobs.ledger import Happened
from services.runtime.jobs.schedule import dues, is_active

TENTH: Final = SECOND // 10
Verdict: TypeAlias = Literal[
    "ran", "failed", "running", "skipped", "missed", "paused", "deleted", "waiting", "unrecorded"
]
NO_RUN: Final[frozenset[Verdict]] = frozenset({"skipped", "missed", "unrecorded"})
"""Verdicts of times that were due and had no run."""
GAPS: Final[frozenset[Verdict]] = frozenset({"missed", "unrecorded"})
"""Those that nobody decided."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One time at which the job was due or ran; times in UTC microseconds."""

    due_at: int
    verdict: Verdict
    why: str
    """A sentence for people."""
    because: EventId | None = None
    """The event that is the cause, where one is."""
    occurrence: EventId | None = None
    """The event that records it."""
    recorded_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    outcome: Outcome | None = None
    manual: bool = False
    attempt: int = 1


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job did what it did in a window of time."""

    agent: str
    job: str
    after: int
    until: int
    lines: list[Line]
    """Ascending."""
    note: str = ""
    """Why there are none, where there are none."""

    @property
    def complete(self) -> bool:
        """Whether every time due had its run, or was held by someone."""
        return not any(line.verdict in NO_RUN for line in self.lines)


class _Reasons:
    """Finds the words for one job."""

    def __init__(self, segments: Sequence[Segment], rows: Sequence[Happened], now: int) -> None:
        self._all = rows
        self._said: dict[tuple[object, ...], str] = {}
        self._events = {segment.event: segment for segment in segments}
        self._now = now
        self._made_up = [row for row in rows if row.state == "fired" and row.stands_for]
        name = segments[-1].definition.schedule.zone if segments else "UTC"
        self._zone = zone_of(name)

    @cached_property
    def _rows(self) -> dict[EventId, Happened]:
        return {row.occurrence: row for row in self._all}

    def line(self, due: int, found: Happened | None, held: Segment | None, grace_s: float) -> Line:
        if found is not None:
            return self._recorded(found)
        if held is not None:
            verdict: Verdict = "paused" if held.standing == "paused" else "deleted"
            return Line(due_at=due, verdict=verdict, why=self._held(held), because=held.event)
        if self._now <= due + round(grace_s * SECOND):
            return Line(due_at=due, verdict="waiting", why="it is due now")
        since = moment(due, self._zone)
        why = f"no scheduler has recorded it since {since}: none runs, or it cannot reach the log"
        return Line(due_at=due, verdict="unrecorded", why=why)

    def _recorded(self, it: Happened) -> Line:
        if it.outcome == "succeeded" and it.by_schedule and not it.stands_for:
            return Line(
                due_at=it.due_at,
                verdict="ran",
                why=self._well(it),
                occurrence=it.occurrence,
                recorded_at=it.recorded_at,
                started_at=it.started_at,
                ended_at=it.ended_at,
                outcome="succeeded",
            )
        verdict, why, because = self._cause(it)
        return Line(
            due_at=it.due_at,
            verdict=verdict,
            why=why,
            because=because,
            occurrence=it.occurrence,
            recorded_at=it.recorded_at,
            started_at=it.started_at,
            ended_at=it.ended_at,
            outcome=it.outcome,
            manual=it.manual,
            attempt=it.attempt,
        )

    def _cause(self, it: Happened) -> tuple[Verdict, str, EventId | None]:
        if it.state == "fired":
            return self._run(it)
        if it.state == "missed":
            return "missed", self._missed(it), None
        segment = self._events.get(it.because) if it.because else None
        if it.reason in {"paused", "deleted"}:
            verdict: Verdict = "paused" if it.reason == "paused" else "deleted"
            why = self._held(segment) if segment else f"the job was {it.reason} before it began"
            return verdict, why, it.because
        if it.reason == "budget":
            return "skipped", it.end_reason or "a budget is used up", None
        other = self._rows.get(it.because) if it.because else None
        if it.reason == "breaker":
            return "skipped", "held back by the circuit breaker after failures in a row", it.because
        if other is None:
            return "skipped", "an earlier run was still going on", it.because
        until = "" if other.ended_at is None else f" until {moment(other.ended_at, self._zone)}"
        why = f"the run of {moment(other.due_at, self._zone)} was going on{until}"
        if other.started_at is None:
            why += ": it waited for a channel service to begin it"
        return "skipped", why, it.because

    def _run(self, it: Happened) -> tuple[Verdict, str, EventId | None]:
        parts = []
        if it.manual:
            parts.append(f"run now by {it.actor}")
        if it.attempt > 1:
            parts.append(f"attempt {it.attempt}")
        late = it.recorded_at - it.due_at
        if not it.manual and it.attempt == 1 and late > SECOND:
            parts.append(f"{span(late)} late")
        if it.stands_for:
            parts.append(f"it makes up for {it.stands_for} missed before it")
        verdict: Verdict = "ran"
        if it.ended_at is None:
            verdict = "running"
            began = "" if it.started_at is None else f" since {moment(it.started_at, self._zone)}"
            parts.append(f"running{began}" if began else "waits for a channel service to begin it")
        else:
            took = span(it.ended_at - (it.started_at or it.recorded_at))
            parts.append(f"{it.outcome} after {took}")
            if it.outcome in FAILURES:
                verdict = "failed"
            if it.end_reason:
                parts.append(it.end_reason)
        if it.delivered_to:
            parts.append(f"told {it.delivered_to}")
        elif it.refused:
            parts.append(f"could not be told: {it.refused}")
        return verdict, "; ".join(parts), it.retry_of

    def _well(self, it: Happened) -> str:
        """Return what is said of most runs: they are many, and much the same."""
        late = it.recorded_at - it.due_at
        took = (it.ended_at or it.recorded_at) - (it.started_at or it.recorded_at)
        key = (late // SECOND, took // TENTH, it.delivered_to, it.refused, it.end_reason)
        said = self._said.get(key)
        if said is None:
            parts = [f"{span(late)} late"] if late > SECOND else []
            parts += [f"succeeded after {span(took)}", *([it.end_reason] if it.end_reason else [])]
            if it.delivered_to:
                parts.append(f"told {it.delivered_to}")
            elif it.refused:
                parts.append(f"could not be told: {it.refused}")
            said = self._said[key] = "; ".join(parts)
        return said

    def _missed(self, it: Happened) -> str:
        if it.reason == "late":
            why = f"a scheduler ran and recorded it only at {moment(it.recorded_at, self._zone)}"
        else:
            down = moment(it.down_to_at or it.recorded_at, self._zone)
            begin = (
                "some time before" if not it.down_from_at else moment(it.down_from_at, self._zone)
            )
            why = f"no scheduler ran from {begin} to {down}"
        made_up = next((row for row in self._made_up if row.due_at > it.due_at), None)
        if it.policy == "once" and made_up is not None:
            return f"{why}; made up for by the run of {moment(made_up.due_at, self._zone)}"
        return f"{why}; policy {it.policy}"

    def _held(self, segment: Segment) -> str:
        said = f": {segment.reason}" if segment.reason else ""
        return f"{segment.standing} by {segment.actor} at {moment(segment.at, self._zone)}{said}"


def explain(  # noqa: PLR0913 - a job, what is recorded of it, and a window
    agent: str,
    job: str,
    segments: Sequence[Segment],
    rows: Sequence[Happened],
    *,
    after: int,
    until: int,
    now: int,
) -> Answer:
    """Return what should have happened and what did, with `after` < time <= `until`."""
    reasons = _Reasons(segments, rows, now)
    recorded: dict[int, Happened] = {}
    beside: list[Happened] = []
    for row in rows:
        if row.by_schedule:
            recorded[row.due_at] = row
        else:
            beside.append(row)
    lines = []
    for segment, due in expected_dues(segments, after, min(until, now)):
        found = recorded.pop(due, None)
        held = segment if segment.standing != "active" else None
        lines.append(reasons.line(due, found, held, segment.definition.grace_s))
    beside += recorded.values()
    lines += [
        reasons.line(row.due_at, row, None, 0.0) for row in beside if after < row.due_at <= until
    ]
    lines.sort(key=attrgetter("due_at"))
    note = "" if lines else _not_due(segments, after, until, now)
    return Answer(agent=agent, job=job, after=after, until=until, lines=lines, note=note)


def _not_due(segments: Sequence[Segment], after: int, until: int, now: int) -> str:
    """Say why a window holds no time at which the job was due."""
    if not segments:
        return "the job was never defined"
    first, last = segments[0], segments[-1]
    zone = zone_of(last.definition.schedule.zone)
    if until <= first.after:
        return f"the job was defined at {moment(first.at, zone)}, after that"
    schedule = next(
        (it for it in reversed(segments) if it.after < until), first
    ).definition.schedule
    following = next(islice(_due_after(segments, min(until, now)), 1), None)
    then = f"; it is due next at {moment(following.due_at, zone)}" if following else ""
    if schedule.start_at is not None and until < schedule.start_at:
        return f"it does not start before {moment(schedule.start_at, zone)}{then}"
    if schedule.end_at is not None and after >= schedule.end_at:
        return f"it ended at {moment(schedule.end_at, zone)}"
    always = msgspec.structs.replace(schedule, active_from=None, active_to=None)
    if not is_active(schedule, until) and next(dues(always, after, until), None) is not None:
        hours = f"{schedule.active_from}-{schedule.active_to}"
        return f"that is outside its active hours, {hours} {schedule.zone}{then}"
    if until > now:
        return f"that is still to come{then}"
    return f"its schedule has no time there{then}"


def _due_after(segments: Sequence[Segment], after: int) -> Iterator[Expected]:
    last = segments[-1]
    if last.standing == "active":
        for due in dues(last.definition.schedule, max(after, last.after)):
            yield Expected(due, last)


def minute_of(at: int) -> tuple[int, int]:
    """Return the window of the minute that a time is in."""
    begin = at // MINUTE * MINUTE
    return begin - 1, begin + MINUTE - 1


def moment(at: int, zone: ZoneInfo) -> str:
    """Return a time as people in a zone write it."""
    return f"{civil(at, zone):%Y-%m-%d %H:%M:%S %Z}"


def span(microseconds: int) -> str:
    """Return a length of time as people say it."""
    seconds = microseconds / SECOND
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
