"""Nights in which the clocks change: once, at the next valid instant, never twice."""

from itertools import islice, pairwise

import pytest
from hypothesis import given, strategies as st

from schemas.schedule import Schedule
from services.runtime.jobs.civil import civil, instant, zone_of
from services.runtime.jobs.schedule import dues
from tests.support.jobs import days, shown, utc

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")


def nights(expression, zone, after, count=3):
    schedule = Schedule(cron=expression, zone=zone)
    return [shown(at, zone) for at in islice(dues(schedule, utc(after)), count)]


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        pytest.param(
            *("Europe/Berlin", "30 2 * * *", "2026-03-28 00:00+01:00"),
            ["2026-03-28 02:30+01:00", "2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"],
            id="Berlin, spring",
        ),
        pytest.param(
            *("Europe/Berlin", "30 2 * * *", "2026-10-24 00:00+02:00"),
            ["2026-10-24 02:30+02:00", "2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"],
            id="Berlin, autumn",
        ),
        pytest.param(
            *("America/New_York", "15 2 * * *", "2026-03-07 00:00-05:00"),
            ["2026-03-07 02:15-05:00", "2026-03-08 03:00-04:00", "2026-03-09 02:15-04:00"],
            id="New York, spring",
        ),
        pytest.param(
            *("America/New_York", "30 1 * * *", "2026-10-31 00:00-04:00"),
            ["2026-10-31 01:30-04:00", "2026-11-01 01:30-04:00", "2026-11-02 01:30-05:00"],
            id="New York, autumn",
        ),
        pytest.param(
            *("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 00:00+10:30"),
            ["2026-10-03 02:15+10:30", "2026-10-04 02:30+11:00", "2026-10-05 02:15+11:00"],
            id="Lord Howe, spring, by half an hour",
        ),
        pytest.param(
            *("Australia/Lord_Howe", "45 1 * * *", "2026-04-04 00:00+11:00"),
            ["2026-04-04 01:45+11:00", "2026-04-05 01:45+11:00", "2026-04-06 01:45+10:30"],
            id="Lord Howe, autumn, by half an hour",
        ),
    ],
)
def test_a_daily_job_runs_once_in_the_night_of_a_change(zone, expression, after, expected):
    assert nights(expression, zone, after) == expected


def test_several_times_within_the_gap_are_one():
    assert nights("0,15,30,45 2 * * *", "Europe/Berlin", "2026-03-29 00:00+01:00", 2) == [
        "2026-03-29 03:00+02:00",
        "2026-03-30 02:00+02:00",
    ]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", ["*/10 * * * *", "30 * * * *"])
def test_a_job_of_every_hour_follows_the_time_that_passes(zone, expression):
    step = 600_000_000 if expression.startswith("*") else 3_600_000_000
    found = list(dues(Schedule(cron=expression, zone=zone), *days("2026-01-01", 365)))
    gaps = {later - sooner for sooner, later in pairwise(found)}
    odd = (
        {1_800_000_000, 5_400_000_000}
        if zone.startswith("Australia") and step > 600_000_000
        else set()
    )
    assert step in gaps
    assert gaps <= {step} | odd


@pytest.mark.parametrize("zone", ZONES)
@given(st.integers(0, 23), st.integers(0, 59))
def test_a_daily_job_runs_once_on_every_day_of_a_year(zone, hour, minute):
    schedule = Schedule(cron=f"{minute} {hour} * * *", zone=zone)
    found = [civil(at, zone_of(zone)).date() for at in dues(schedule, *days("2026-01-02", 360))]
    assert len(set(found)) == len(found)
    assert [later.toordinal() - sooner.toordinal() for sooner, later in pairwise(found)] == [1] * (
        len(found) - 1
    )


@given(st.integers(utc("2025-01-01"), utc("2028-01-01")), st.sampled_from(ZONES))
def test_an_instant_is_found_again_from_what_the_clocks_show(at, name):
    zone = zone_of(name)
    wall = civil(at, zone).replace(tzinfo=None, fold=0)
    assert instant(wall, zone) <= at
    assert civil(instant(wall, zone), zone).replace(tzinfo=None, fold=0) == wall
