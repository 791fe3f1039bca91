"""What should have happened: a pure function of the events that defined a job.

A definition holds for the times due after its `effective_at`, up to that of the next. While a job
is paused or deleted its times are still named, as held by the event that did it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Literal

from schemas.base import EventId
from schemas.schedule import JobDefined, JobDeleted, JobPaused, JobResumed
from services.runtime.event_log import Recorded
from services.runtime.jobs.schedule import dues

Standing = Literal["active", "paused", "deleted"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which one definition holds."""

    after: int
    """Times due after this belong to it, UTC microseconds."""
    until: int | None
    """Up to this; None for as long as nobody says otherwise."""
    standing: Standing
    definition: JobDefined
    event: EventId
    """What made it so."""
    actor: str
    at: int
    """When that was recorded."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """One time at which the job is due by its schedule."""

    due_at: int
    segment: Segment

    @property
    def held(self) -> bool:
        """Whether the job was paused or deleted then: nothing should have happened."""
        return self.segment.standing != "active"


def timeline(events: Iterable[Recorded]) -> tuple[Segment, ...]:
    """Return the stretches that these events, in log order, make."""
    segments: tuple[Segment, ...] = ()
    for recorded in events:
        segments = extend(segments, recorded)
    return segments


def extend(segments: tuple[Segment, ...], recorded: Recorded) -> tuple[Segment, ...]:
    """Return the stretches as they are after one more event; most events change none."""
    event = recorded.event
    last = segments[-1] if segments else None
    standing: Standing = "active"
    reason = ""
    match event:
        case JobDefined():
            paused = last is not None and last.standing == "paused"
            definition, standing = event, "paused" if paused else "active"
        case JobPaused(reason=reason) if last and last.standing == "active":
            definition, standing = last.definition, "paused"
        case JobResumed() if last and last.standing == "paused":
            definition = last.definition
        case JobDeleted(reason=reason) if last and last.standing != "deleted":
            definition, standing = last.definition, "deleted"
        case _:
            return segments
    after = max(event.effective_at, last.after) if last else event.effective_at
    envelope = recorded.envelope
    held_by = last if isinstance(event, JobDefined) and standing == "paused" else None
    new = Segment(
        after=after,
        until=None,
        standing=standing,
        definition=definition,
        event=held_by.event if held_by else envelope.id,
        actor=held_by.actor if held_by else envelope.actor,
        at=held_by.at if held_by else envelope.at,
        reason=held_by.reason if held_by else reason,
    )
    return (*segments[:-1], replace(last, until=after), new) if last else (new,)


def expected(segments: Iterable[Segment], after: int, until: int) -> Iterator[Expected]:
    """Yield the times due with `after` < time <= `until`, ascending, held ones included."""
    for segment, due in expected_dues(segments, after, until):
        yield Expected(due, segment)


def expected_dues(
    segments: Iterable[Segment], after: int, until: int
) -> Iterator[tuple[Segment, int]]:
    """Yield the same as plain pairs, for windows with many."""
    for segment in segments:
        begin = max(after, segment.after)
        end = until if segment.until is None else min(until, segment.until)
        if begin < end:
            yield from zip(repeat(segment), dues(segment.definition.schedule, begin, end))


def following(segments: tuple[Segment, ...], after: int) -> Iterator[Expected]:
    """Yield the times due after `after` at which something should happen, without an end."""
    for segment in segments:
        if segment.standing != "active":
            continue
        begin = max(after, segment.after)
        if segment.until is None or begin < segment.until:
            for due in dues(segment.definition.schedule, begin, segment.until):
                yield Expected(due, segment)
