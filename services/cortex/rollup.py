"""What is kept of a day, and which day is next. Pure.

Consumes:  what happened, the last day that was summarised, the time
Emits:     day_summarised
Never:     awaits, reads a clock; summarises a day twice, or one that is not over
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Final

from projections.activity import Happening
from schemas.cortex import DaySummarised
from services.cortex.layers import collapsed, fit, happening_line
from services.runtime import days

GRACE_S: Final = 60  # after midnight, for events of other machines whose clocks are behind
TOKENS: Final = 500  # kept of a day: more than any layer shows of it


@dataclass(frozen=True, slots=True)
class Span:
    """A local day, or what a change of the time zone has left of it."""

    day: date
    begin: int
    """UTC microseconds, as `until`, which is no part of it."""
    until: int


def next_day(
    last: DaySummarised | None, first: int | None, zone: tzinfo, *, now: int
) -> Span | None:
    """Return the day to be summarised next, or None while there is none.

    Args:
        last: The last day that was.
        first: When something first happened at or after `last.until`, or at all; None: nothing.
        zone: Where midnight is.
        now: UTC microseconds.
    """
    if first is None:
        return None
    day = days.day_of(first, zone)
    until = days.begin(days.after(day), zone)
    if now < until + GRACE_S * days.MICROSECONDS:
        return None
    begin = days.begin(day, zone)
    return Span(day, max(begin, last.until) if last else begin, until)


def summarise(
    span: Span,
    zone: str,
    happened: Sequence[Happening],
    *,
    messages: int,
    conversations: int,
) -> DaySummarised:
    """Return what is kept of a day: memories by weight, then failures, then what was done.

    Args:
        span: The day.
        zone: Its time zone's name.
        happened: What happened in it, newest first.
        messages: Messages of people in open conversations.
        conversations: In how many of them.
    """
    oldest_first = list(reversed(happened))
    ranked = sorted(oldest_first, key=_rank)
    lines, left_out = fit(collapsed(map(happening_line, ranked)), TOKENS)
    return DaySummarised(
        day=span.day.isoformat(),
        zone=zone,
        begin=span.begin,
        until=span.until,
        messages=messages,
        conversations=conversations,
        lines=lines,
        left_out=left_out,
    )


def _rank(row: Happening) -> tuple[int, float]:
    if row.kind == "memory":
        return 0, -(row.importance or 0.0)
    return (1 if row.kind == "failure" else 2), 0.0
