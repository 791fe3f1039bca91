"""A local day begins at its midnight, also where clocks change."""

from datetime import UTC, date, datetime

import pytest

from services.runtime import days

BERLIN = days.zone("Europe/Berlin")
HAVANA = days.zone("America/Havana")
HOUR = 3_600_000_000


def utc(*when) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("day", "begin", "hours"),
    [
        pytest.param(date(2026, 1, 15), (2026, 1, 14, 23), 24, id="in winter"),
        pytest.param(date(2026, 7, 15), (2026, 7, 14, 22), 24, id="in summer"),
        pytest.param(date(2026, 3, 29), (2026, 3, 28, 23), 23, id="when summer time begins"),
        pytest.param(date(2026, 10, 25), (2026, 10, 24, 22), 25, id="when summer time ends"),
    ],
)
def test_a_day_in_berlin_is_as_long_as_its_calendar_says(day, begin, hours):
    assert days.begin(day, BERLIN) == utc(*begin)
    assert days.begin(days.after(day), BERLIN) - days.begin(day, BERLIN) == hours * HOUR


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25), date(2026, 12, 31)])
def test_the_first_moment_of_a_day_is_in_it_and_the_one_before_is_not(day):
    begin = days.begin(day, BERLIN)
    assert days.day_of(begin, BERLIN) == day
    assert days.day_of(begin - 1, BERLIN) == days.after(day, -1)


def test_where_midnight_is_skipped_the_day_begins_at_the_first_moment_there_is():
    day = date(2026, 3, 8)  # the clock goes from 00:00 to 01:00
    begin = days.begin(day, HAVANA)
    assert days.clock(begin, HAVANA) == "01:00"
    assert (days.day_of(begin, HAVANA), days.day_of(begin - 1, HAVANA)) == (
        day,
        date(2026, 3, 7),
    )


def test_days_are_named_by_date_so_that_they_stay_true():
    assert days.long(date(2026, 11, 24)) == "Tuesday, 2026-11-24"


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "../etc/passwd", "Europe", "\x00"])
def test_what_is_no_time_zone_is_refused(name):
    assert not days.is_zone(name)
    with pytest.raises(ValueError, match="no time zone"):
        days.zone(name)


def test_utc_needs_no_zone_data(monkeypatch):
    monkeypatch.setattr(days, "ZoneInfo", None)
    assert days.zone("UTC") is UTC
