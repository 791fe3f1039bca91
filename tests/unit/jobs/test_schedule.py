"""Intervals, single times, active hours, jitter; and what is refused."""

from itertools import islice

import pytest
from hypothesis import given, strategies as st

from schemas.schedule import Schedule
from services.runtime.jobs.cron import InvalidSchedule
from services.runtime.jobs.schedule import check, dues, run_at
from tests.support.jobs import MINUTE, NINE, shown, utc


def at(schedule, count=4, after=NINE):
    return [shown(due)[11:16] for due in islice(dues(schedule, after), count)]


def test_an_interval_counts_from_its_anchor():
    schedule = Schedule(every_s=1_800, anchor_at=NINE + 10 * MINUTE)
    assert at(schedule) == ["09:10", "09:40", "10:10", "10:40"]


def test_a_single_time_comes_once():
    schedule = Schedule(once_at=NINE + MINUTE)
    assert (at(schedule), at(schedule, after=NINE + MINUTE)) == (["09:01"], [])


def test_it_is_not_due_before_its_start_nor_after_its_end():
    schedule = Schedule(
        every_s=60, anchor_at=NINE, start_at=NINE + 2 * MINUTE, end_at=NINE + 4 * MINUTE
    )
    assert at(schedule, 9, after=0) == ["09:02", "09:03", "09:04"]


def test_active_hours_include_their_beginning_and_not_their_end():
    schedule = Schedule(
        every_s=7_200, anchor_at=NINE, active_from="09:00", active_to="15:00", zone="UTC"
    )
    assert at(schedule, 5, after=NINE - 1) == ["09:00", "11:00", "13:00", "09:00", "11:00"]


def test_active_hours_may_go_past_midnight():
    schedule = Schedule(cron="0 */3 * * *", active_from="21:00", active_to="06:00")
    assert at(schedule, 4) == ["21:00", "00:00", "03:00", "21:00"]


def test_a_night_of_seconds_is_left_out_at_once():
    schedule = Schedule(every_s=1, anchor_at=NINE, active_from="09:00", active_to="09:01")
    found = list(islice(dues(schedule, NINE - 1), 120))
    assert found[60] - found[59] == 86_400_000_000 - 59 * 1_000_000


def test_jitter_is_the_same_everywhere_and_within_its_limit():
    schedule = Schedule(cron="0 9 * * *", jitter_s=300)
    delays = [run_at(schedule, "digest", due) - due for due in islice(dues(schedule, NINE), 50)]
    assert all(0 <= delay < 300_000_000 for delay in delays)
    assert len(set(delays)) > 40
    assert delays[0] == run_at(schedule, "digest", NINE + 1_440 * MINUTE) - (NINE + 1_440 * MINUTE)


@given(st.integers(1, 100_000), st.integers(0, 10**6), st.integers(0, 10**6))
def test_windows_that_join_give_what_one_window_gives(every, first, more):
    schedule = Schedule(every_s=every, anchor_at=NINE)
    a, b, c = NINE, NINE + first * 1_000_000, NINE + (first + more) * 1_000_000
    if c - a > 5_000 * every * 1_000_000:
        return
    assert [*dues(schedule, a, b), *dues(schedule, b, c)] == list(dues(schedule, a, c))


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (Schedule(), "exactly one of"),
        (Schedule(cron="@daily", every_s=60, anchor_at=1), "exactly one of"),
        (Schedule(every_s=60), "counted from"),
        (Schedule(cron="@daily", zone="Europe/Berlim"), "no IANA time zone"),
        (Schedule(cron="0 0 30 2 *"), "no day that ever comes"),
        (Schedule(cron="@daily", active_from="09:00"), "a beginning and an end"),
        (Schedule(cron="@daily", active_from="09:00", active_to="09:00"), "empty or endless"),
        (Schedule(cron="@daily", start_at=utc("2026-02-01"), end_at=utc("2026-01-01")), "before"),
        (Schedule(cron="@daily", jitter_s=3_601), "jitter"),
        (Schedule(every_s=60, anchor_at=1, jitter_s=60), "jitter"),
    ],
)
def test_a_schedule_that_cannot_be_honoured_is_refused(schedule, reason):
    with pytest.raises(InvalidSchedule) as refused:
        check(schedule)
    assert reason in str(refused.value)


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(InvalidSchedule) as refused:
        check(Schedule(cron="61 * * * *", zone="Nowhere", active_to="09:00"))
    assert str(refused.value).count(";") == 2
