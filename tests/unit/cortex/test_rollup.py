"""Which day is summarised next, and what is kept of it."""

from datetime import date, datetime

import pytest

from schemas.cortex import DaySummarised
from services.cortex.rollup import GRACE_S, Span, next_day, summarise
from services.runtime import days
from tests.support.happenings import HOUR, happening

BERLIN = days.zone("Europe/Berlin")
TOKYO = days.zone("Asia/Tokyo")
GRACE = GRACE_S * 1_000_000


def local(zone, *when) -> int:
    return round(datetime(*when, tzinfo=zone).timestamp()) * 1_000_000


def summarised(day, zone=BERLIN) -> DaySummarised:
    begin, until = days.begin(day, zone), days.begin(days.after(day), zone)
    return DaySummarised(day=day.isoformat(), zone="x", begin=begin, until=until)


def test_where_nothing_happened_there_is_no_day():
    assert next_day(None, None, BERLIN, now=local(BERLIN, 2026, 11, 24)) is None


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        pytest.param(date(2026, 11, 24), 24, id="any day"),
        pytest.param(date(2026, 3, 29), 23, id="when summer time begins"),
        pytest.param(date(2026, 10, 25), 25, id="when summer time ends"),
    ],
)
def test_a_day_is_over_a_minute_after_its_midnight(day, hours):
    first = local(BERLIN, day.year, day.month, day.day, 12)
    until = days.begin(days.after(day), BERLIN)
    assert next_day(None, first, BERLIN, now=until + GRACE - 1) is None
    span = next_day(None, first, BERLIN, now=until + GRACE)
    assert span == Span(day, until - hours * HOUR, until)


@pytest.mark.parametrize(
    ("at", "day"),
    [
        pytest.param((2026, 10, 25, 0, 30), date(2026, 10, 25), id="after midnight"),
        pytest.param((2026, 10, 25, 23, 59), date(2026, 10, 25), id="before midnight"),
        pytest.param((2026, 3, 29, 23, 59), date(2026, 3, 29), id="of the short day"),
    ],
)
def test_what_happens_around_a_change_of_clocks_belongs_to_its_local_day(at, day):
    span = next_day(None, local(BERLIN, *at), BERLIN, now=local(BERLIN, 2027, 1, 1))
    assert span.day == day
    assert span.begin <= local(BERLIN, *at) < span.until


def test_the_hour_that_comes_twice_is_twice_in_the_day():
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    again = first.replace(fold=1)
    assert again.timestamp() - first.timestamp() == 3_600
    for moment in (first, again):
        at = round(moment.timestamp()) * 1_000_000
        span = next_day(None, at, BERLIN, now=local(BERLIN, 2027, 1, 1))
        assert span.day == date(2026, 10, 25)


def test_days_without_anything_are_passed_over():
    last = summarised(date(2026, 11, 20))
    span = next_day(
        last, local(BERLIN, 2026, 11, 23, 9), BERLIN, now=local(BERLIN, 2026, 11, 24, 9)
    )
    assert span.day == date(2026, 11, 23)


def test_a_new_time_zone_leaves_neither_a_gap_nor_an_overlap():
    last = summarised(date(2026, 11, 23), BERLIN)
    first = last.until + 1
    for zone in (TOKYO, days.zone("America/New_York")):
        span = next_day(last, first, zone, now=local(BERLIN, 2026, 12, 1))
        assert span.begin == last.until
        assert span.begin <= first < span.until


def test_of_a_day_memories_count_most_then_failures_then_what_was_done():
    happened = [
        happening("done", kind="worker", ref="w", outcome="succeeded", hours_ago=1),
        happening("no model", kind="failure", ref="t", hours_ago=2),
        happening("less", ref="m1", importance=0.4, hours_ago=3),
        happening("more", ref="m2", importance=0.9, hours_ago=4),
    ]
    span = Span(date(2026, 11, 24), 0, 1)
    kept = summarise(span, "UTC", happened, messages=7, conversations=2)
    assert [line.text for line in kept.lines] == [
        'remembered, fact: "more"',
        'remembered, fact: "less"',
        'discord/ops: could not answer: "no model"',
        'discord/ops: a worker succeeded: "done"',
    ]
    assert [line.memory_id for line in kept.lines] == ["m2", "m1", None, None]
    assert (kept.messages, kept.conversations, kept.left_out) == (7, 2, 0)


def test_a_busy_day_is_cut_and_says_so():
    happened = [happening("word " * 40, ref=f"m{n}") for n in range(100)]
    kept = summarise(Span(date(2026, 11, 24), 0, 1), "UTC", happened, messages=0, conversations=0)
    assert 0 < len(kept.lines) < 100
    assert kept.left_out == 100 - len(kept.lines)
