"""Given what was reserved and settled, there is room for a call or there is none."""

import pytest

from services.runtime.budgets.budget import period
from services.runtime.budgets.decider import used_up
from services.runtime.budgets.wording import for_people, told
from services.runtime.days import zone
from tests.support.budgets import SPEND, UTC, budget, ledger, reserved, settled, short
from tests.support.builders import START, story

HOUR = 3_600_000_000


def spent(*events):
    return ledger(story(*events, subject=SPEND))


def test_there_is_room_up_to_the_limit_itself():
    assert short(spent(reserved(usd=0.4)), budget(usd=0.5)) is None


def test_what_is_reserved_counts_in_full():
    found = short(spent(reserved(usd=0.41)), budget(usd=0.5))
    assert (found.budget, found.unit) == ("team", "usd")
    assert (found.spent, found.held, found.needs) == (0.0, 0.41, 0.1)


def test_what_was_used_counts_instead_once_it_is_known():
    assert short(spent(reserved(usd=0.41), settled(usd=0.02)), budget(usd=0.5)) is None


def test_a_settlement_counts_once():
    told_twice = spent(reserved(usd=0.4), settled(usd=0.2), settled(usd=0.2))
    assert short(told_twice, budget(usd=0.3)) is None


def test_a_call_that_failed_counts_nothing():
    failed = spent(reserved(), settled(usd=0.0, tokens=0, calls=0))
    assert short(failed, budget(usd=0.1, tokens=100, calls=1)) is None


def test_a_hundred_dimes_are_ten_dollars():
    events = [reserved(f"r{n}", usd=0.1) for n in range(99)]
    assert short(spent(*events), budget(usd=10.0)) is None
    assert short(spent(*events, reserved("last", usd=0.1)), budget(usd=10.0)) is not None


@pytest.mark.parametrize("limits", [{"tokens": 150}, {"calls": 1}, {"usd": 9.0, "calls": 1}])
def test_each_unit_has_its_own_limit(limits):
    assert short(spent(reserved()), budget(**limits)) is not None


def test_another_agent_does_not_use_up_what_is_one_agents():
    events = spent(reserved(agent="bob", usd=9.0))
    assert short(events, budget(usd=1.0, agent="atlas")) is None
    assert short(events, budget(usd=1.0)) is not None


def test_a_job_has_its_own_and_counts_for_its_agent():
    events = spent(reserved(job="digest", usd=9.0))
    assert short(events, budget(usd=1.0, agent="atlas", job="digest")) is not None
    assert short(events, budget(usd=1.0, agent="atlas", job="other")) is None
    assert short(events, budget(usd=1.0, agent="atlas")) is not None


def test_a_new_day_begins_anew_and_the_month_goes_on():
    events = spent(reserved(usd=0.95))
    tomorrow = START + 24 * HOUR
    assert short(events, budget(usd=1.0), at=tomorrow) is None
    assert short(events, budget(usd=1.0, per="month"), at=tomorrow) is not None


def test_the_first_budget_without_room_is_named():
    wide, narrow = budget("wide", usd=100.0), budget("narrow", calls=1)
    assert short(spent(reserved()), wide, narrow).budget == "narrow"


def test_it_says_what_used_most_of_it():
    events = spent(
        *(reserved("a", job="digest", usd=3.0), settled("a", usd=2.5)),
        *(reserved("b", usd=1.0), settled("b", usd=0.9)),
        *(reserved("c", agent="bob", usd=1.0), settled("c", usd=1.0)),
    )
    found = short(events, budget(usd=4.45))
    assert (found.mostly, found.mostly_used) == ("job digest of atlas", 2.5)
    assert told(found) == (
        "budget team is used up: $4.40 of $4.45 a day spent, the next call may need $0.10; "
        "it begins anew at 2023-11-15 00:00 UTC; most was used by job digest of atlas: $2.50"
    )


def test_people_are_told_until_when_and_what_helps_and_no_amounts():
    said = for_people(short(spent(reserved(usd=1.0)), budget(usd=1.0)))
    assert "2023-11-15 00:00 UTC" in said
    assert "`budgets.team`" in said
    assert "$" not in said


@pytest.mark.parametrize(
    ("per", "where", "key", "hours"),
    [
        ("day", "UTC", "2023-11-14", 24),
        ("day", "Asia/Tokyo", "2023-11-15", 24),
        ("month", "UTC", "2023-11", 30 * 24),
        ("month", "Europe/Berlin", "2023-11", 30 * 24),
    ],
)
def test_periods_are_those_of_the_calendar(per, where, key, hours):
    found = period(per, START, zone(where))
    assert (found.key, found.until - found.since) == (key, hours * HOUR)
    assert found.since <= START < found.until


def test_a_day_on_which_clocks_change_has_another_length():
    change = 1_698_537_600_000_000  # 2023-10-29 00:00 UTC
    found = period("day", change, zone("Europe/Berlin"))
    assert found.until - found.since == 25 * HOUR


# -- a job that is due ---------------------------------------------------------------------------


def due(of, *budgets):
    return used_up(of, budgets, "atlas", "digest", at=START, calendar=UTC)


def test_a_job_is_due_as_long_as_its_smallest_call_fits():
    events = spent(
        *(reserved("a", job="digest", usd=0.2), settled("a", usd=0.1)),
        *(reserved("b", usd=0.5), settled("b", usd=0.5)),
    )
    assert due(events, budget(usd=0.8)) is None
    assert due(events, budget(usd=0.79)) is not None


def test_a_job_that_never_ran_needs_what_others_needed_at_least():
    events = spent(reserved("b", usd=0.5), settled("b", usd=0.5))
    assert due(events, budget(usd=1.0)) is None
    assert due(events, budget(usd=0.99)) is not None


def test_what_calls_under_way_hold_is_no_reason_to_leave_a_job_out():
    assert due(spent(reserved(usd=0.5)), budget(usd=0.6)) is None


def test_a_budget_of_nothing_lets_no_job_begin():
    assert due(spent(), budget(calls=0)) is not None
