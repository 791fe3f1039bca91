"""Cron expressions: five fields that are honoured to the letter, or refused with the reason."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest
from croniter import croniter
from hypothesis import given, strategies as st

from services.runtime.jobs.civil import times, zone_of
from services.runtime.jobs.cron import InvalidSchedule, parse
from tests.support.jobs import shown, utc


def first(expression, count=3, *, after="2026-05-01 00:00", zone="UTC"):
    found = times(parse(expression), zone_of(zone), utc(after))
    return [shown(at, zone)[:16] for at in islice(found, count)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 9 * * *", ["2026-05-01 09:00", "2026-05-02 09:00", "2026-05-03 09:00"]),
        ("0 9 * * mon-fri", ["2026-05-01 09:00", "2026-05-04 09:00", "2026-05-05 09:00"]),
        ("*/20 8-9 1 * *", ["2026-05-01 08:00", "2026-05-01 08:20", "2026-05-01 08:40"]),
        ("0 0 L * *", ["2026-05-31 00:00", "2026-06-30 00:00", "2026-07-31 00:00"]),
        ("0 0 15,L feb *", ["2027-02-15 00:00", "2027-02-28 00:00", "2028-02-15 00:00"]),
        ("0 9 * * 1#2", ["2026-05-11 09:00", "2026-06-08 09:00", "2026-07-13 09:00"]),
        ("0 9 * * L5", ["2026-05-29 09:00", "2026-06-26 09:00", "2026-07-31 09:00"]),
        ("0 9 * * 7", ["2026-05-03 09:00", "2026-05-10 09:00", "2026-05-17 09:00"]),
        ("0 22-1 * * *", ["2026-05-01 01:00", "2026-05-01 22:00", "2026-05-01 23:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("@daily", ["2026-05-02 00:00", "2026-05-03 00:00", "2026-05-04 00:00"]),
        ("@weekly", ["2026-05-03 00:00", "2026-05-10 00:00", "2026-05-17 00:00"]),
    ],
)
def test_an_expression_selects_its_times(expression, expected):
    assert first(expression) == expected


def test_a_day_is_meant_by_either_field_when_both_are_restricted():
    assert first("0 0 13 * fri") == ["2026-05-08 00:00", "2026-05-13 00:00", "2026-05-15 00:00"]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("* * * * * *", "has 6 fields; it needs 5"),
        ("* * *", "has 3 fields"),
        ("@reboot", "there are @yearly"),
        ("0 0 15W * *", "'15w' is no day of the month"),
        ("H * * * *", "'h' is no minute"),
        ("R * * * *", "'r' is no minute"),
        ("0 0 * * 5L", "'5l' is no day of the week"),
        ("0 0 * * 1#6", "'1#6' is no day of the week"),
        ("61 * * * *", "out of range"),
        ("0 25 * * *", "out of range"),
        ("0 0 0 * *", "out of range"),
        ("0 0 30 2 *", "no day that ever comes"),
        ("0 0 31 4,6,9,11 *", "no day that ever comes"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("0 9 * * workdays", "'workdays' is no day of the week"),
        ("", "has 0 fields"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(expression, reason):
    with pytest.raises(InvalidSchedule) as refused:
        parse(expression)
    assert reason in str(refused.value)


@given(
    st.sampled_from(["*", "*/7", "0", "5,35", "10-20/5"]),
    st.sampled_from(["*", "*/5", "3", "22-23", "0,12"]),
    st.sampled_from(["*", "1", "13,31", "L", "*/10"]),
    st.sampled_from(["*", "2", "jan-jun/2", "12"]),
    st.sampled_from(["*", "1-5", "sun", "2#3", "L4"]),
)
def test_where_no_clock_changes_croniter_agrees(minute, hour, day, month, weekday):
    if day != "*" and weekday in {"2#3", "L4"}:
        day = "*"  # croniter finds nothing where both are given
    expression = f"{minute} {hour} {day} {month} {weekday}"
    ours = islice(times(parse(expression), zone_of("UTC"), utc("2026-01-01 00:00")), 5)
    theirs = croniter(expression, datetime(2026, 1, 1, tzinfo=UTC))
    assert [shown(at)[:16] for at in ours] == [
        theirs.get_next(datetime).isoformat(sep=" ", timespec="minutes")[:16] for _ in range(5)
    ]


def test_no_day_is_left_out_behind_a_month_that_is_not_meant():
    days = parse("0 0 31 1,3 *").days_from(date(2026, 1, 31) + timedelta(days=1))
    assert [day.isoformat() for day in islice(days, 2)] == ["2026-03-31", "2027-01-31"]
