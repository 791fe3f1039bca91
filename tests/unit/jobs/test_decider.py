"""What becomes of a time that is due: given what is recorded, when it is so late, then that."""

import pytest

from schemas.base import EventId
from schemas.channel import CancelRequested, TurnStarted
from schemas.schedule import (
    JobDeleted,
    JobPaused,
    JobResumed,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    Schedule,
    Target,
)
from services.runtime.jobs.decider import Down, Record, TimeOut, Wait, decide
from services.runtime.jobs.job import Job, evolve
from tests.support.builders import START, caused_by, persistence, story, worker, worker_concluded
from tests.support.jobs import JOB, MINUTE, NINE, minutely

NEVER = Down()
AT = (NINE - START) / 1_000_000  # story events are placed in seconds after START


def at(minutes, event):
    """Return an event as it was recorded so many minutes after nine."""
    from tests.support.builders import at as placed  # noqa: PLC0415 - the same word

    return placed(AT + minutes * 60, event)


def job(*events):
    found = Job("digest")
    for recorded in story(*events, subject=JOB):
        found = evolve(found, recorded)
    return found


def step(minutes, *events, down=NEVER):
    return decide(job(*events), now=NINE + round(minutes * MINUTE), down=down)


def event(minutes, *events, down=NEVER):
    found = step(minutes, *events, down=down)
    assert isinstance(found, Record), found
    return found.event


def fired(minute, **fields):
    return OccurrenceFired(due_at=NINE + minute * MINUTE, **fields)


def skipped(minute, reason="overlap", because=None):
    return OccurrenceSkipped(due_at=NINE + minute * MINUTE, reason=reason, because=because)


def missed(minute, **fields):
    return OccurrenceMissed(due_at=NINE + minute * MINUTE, reason="not_running", **fields)


def ended(occurrence="e2", outcome="succeeded", **fields):
    return OccurrenceEnded(occurrence=EventId(occurrence), outcome=outcome, **fields)


def turn(occurrence="e2"):
    return TurnStarted(turn_id="t1", owner="one", occurrence=EventId(occurrence))


# -- on time ----------------------------------------------------------------------------------


def test_nothing_is_due_before_its_time():
    assert step(0.5, minutely()) == Wait(NINE + MINUTE)


def test_a_time_that_comes_fires():
    assert event(1, minutely()) == fired(1)


def test_what_is_recorded_is_not_due_again():
    assert step(1.5, minutely(), at(1, fired(1)), at(1.2, ended())) == Wait(NINE + 2 * MINUTE)


def test_a_clock_that_goes_back_repeats_nothing():
    assert step(-3, minutely(), at(1, fired(1)), at(1.1, ended())) == Wait(NINE + 2 * MINUTE)


def test_it_waits_for_its_jitter():
    jittery = minutely(schedule=Schedule(every_s=60, anchor_at=NINE, jitter_s=50))
    found = step(1, jittery)
    assert isinstance(found, Wait)
    assert NINE + MINUTE <= found.until < NINE + 2 * MINUTE


def test_nobody_looks_again_at_a_job_that_is_over():
    once = minutely(schedule=Schedule(once_at=NINE + MINUTE))
    assert step(9, once, at(1, fired(1)), at(1.2, ended())) == Wait(None)


# -- overlap ----------------------------------------------------------------------------------


def test_a_time_during_a_run_is_skipped_with_the_run_in_the_way():
    assert event(2, minutely(), at(1, fired(1))) == skipped(2, because="e2")


@pytest.mark.parametrize("overlap", ["queue", "allow"])
def test_a_time_during_a_run_fires_where_that_is_allowed(overlap):
    assert event(2, minutely(overlap=overlap), at(1, fired(1))) == fired(2)


def test_there_is_an_end_to_queueing():
    runs = [at(minute, fired(minute)) for minute in range(1, 21)]
    assert event(21, minutely(overlap="queue"), *runs) == skipped(21, because="e2")


# -- after an outage --------------------------------------------------------------------------


def test_a_late_time_is_missed_when_another_has_come():
    down = Down(NINE, NINE + 5 * MINUTE)
    expected = missed(1, down_from_at=NINE, down_to_at=NINE + 5 * MINUTE, policy="once")
    assert event(5.5, minutely(), down=down) == expected


def test_the_last_of_them_makes_up_for_the_others():
    told = (minutely(), *(at(5.5, missed(minute)) for minute in (1, 2, 3, 4)))
    assert event(5.5, *told) == fired(5, stands_for=4)


def test_on_skip_none_is_made_up_for():
    found = event(5.5, minutely(misfire="skip"), *(at(5.5, missed(m)) for m in (1, 2, 3, 4)))
    assert (type(found), found.policy) == (OccurrenceMissed, "skip")


def test_on_all_each_is_run_even_while_another_runs():
    late = minutely(misfire="all")
    assert event(5.5, late) == fired(1)
    assert event(5.5, late, at(5.5, fired(1))) == fired(2)


def test_what_is_later_than_the_window_is_missed_on_all_too():
    late = minutely(misfire="all", misfire_window_s=120)
    assert isinstance(event(5.5, late), OccurrenceMissed)
    assert event(5.5, late, *(at(5.5, missed(m)) for m in (1, 2, 3))) == fired(4)


def test_a_time_within_the_grace_is_on_time():
    assert event(1.15, minutely(grace_s=10)) == fired(1)
    assert event(1.2, minutely(grace_s=10, misfire="skip")).reason == "late"


def test_a_scheduler_that_ran_and_was_late_says_so():
    found = event(5.5, minutely(), down=Down(NINE - 9 * MINUTE, NINE - 5 * MINUTE))
    assert (found.reason, found.down_from_at) == ("late", 0)


# -- what people do ---------------------------------------------------------------------------


def test_a_pause_holds_for_what_is_not_yet_recorded():
    paused = JobPaused(effective_at=NINE + MINUTE + 1)
    assert event(1.02, minutely(), at(1.01, paused)) == skipped(1, "paused", "e2")
    assert step(5, minutely(), at(1.01, paused), at(1.02, skipped(1, "paused"))) == Wait(None)


def test_a_deletion_holds_for_what_is_not_yet_recorded():
    deleted = JobDeleted(effective_at=NINE + MINUTE + 1)
    assert event(1.02, minutely(), at(1.01, deleted)) == skipped(1, "deleted", "e2")


def test_times_during_a_pause_are_not_made_up_for():
    told = (
        minutely(),
        at(0.1, JobPaused(effective_at=NINE + 1)),
        at(4.5, JobResumed(effective_at=NINE + 4 * MINUTE + MINUTE // 2)),
    )
    assert step(4.6, *told) == Wait(NINE + 5 * MINUTE)


def test_an_edit_in_the_second_that_it_is_due_runs_as_edited():
    edited = minutely(
        schedule=Schedule(every_s=3_600, anchor_at=NINE), effective_at=NINE + MINUTE + 1
    )
    told = (minutely(), at(1.0001, edited))
    assert event(1.001, *told) == fired(1)
    assert step(1.1, *told, at(1.001, fired(1)), at(1.05, ended("e3"))) == Wait(NINE + 60 * MINUTE)


def test_an_edit_of_a_paused_job_leaves_it_paused():
    told = (minutely(), at(0.1, JobPaused(effective_at=NINE + 1)), at(0.2, minutely()))
    assert step(3, *told) == Wait(None)


def test_a_job_that_is_defined_again_begins_anew():
    told = (
        minutely(),
        at(0.1, JobDeleted(effective_at=NINE + 1)),
        at(2.5, minutely(effective_at=NINE + 2 * MINUTE + 1)),
    )
    assert event(3, *told) == fired(3)


# -- failures ---------------------------------------------------------------------------------


def failing(times, outcome="failed"):
    for minute in range(1, times + 1):
        yield at(minute, fired(minute))
        yield at(minute + 0.5, ended(f"e{2 * minute}", outcome))


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "blocked"])
def test_three_failures_hold_a_job_back(outcome):
    assert event(4, minutely(), *failing(3, outcome)) == skipped(4, "breaker", "e7")


def test_two_failures_do_not():
    assert event(3, minutely(), *failing(2)) == fired(3)


def test_a_success_between_them_counts_anew():
    told = (*failing(2), at(3, fired(3)), at(3.5, ended("e6")), at(4, fired(4)))
    assert event(5, minutely(), *told, at(4.5, ended("e8", "failed"))) == fired(5)


def test_after_a_pause_one_run_is_tried_and_others_wait_for_it():
    told = (minutely(breaker_cooldown_s=120), *failing(3), at(4, skipped(4)), at(5, skipped(5)))
    assert event(6, *told) == fired(6)
    assert event(7, *told, at(6, fired(6))) == skipped(7, "breaker", "e7")


def test_a_try_that_fails_holds_it_back_again_and_one_that_succeeds_lets_it_go():
    told = (
        *(minutely(breaker_cooldown_s=120), *failing(3)),
        *(at(4, skipped(4)), at(5, skipped(5)), at(6, fired(6))),
    )
    assert event(7, *told, at(6.5, ended("e10", "failed"))) == skipped(7, "breaker", "e11")
    assert event(7, *told, at(6.5, ended("e10"))) == fired(7)


def test_resuming_forgets_the_failures():
    resumed = JobResumed(effective_at=NINE + 3 * MINUTE + 1)
    pause = JobPaused(effective_at=NINE + 3 * MINUTE + 1)
    assert event(4, minutely(), *failing(3), at(3.7, pause), at(3.8, resumed)) == fired(4)


def test_a_failed_run_is_tried_again_after_a_pause():
    told = (minutely(retries=1, retry_delay_s=12), at(1, fired(1)), at(1.1, ended("e2", "failed")))
    assert step(1.2, *told) == Wait(NINE + round(1.3 * MINUTE))
    assert event(1.3, *told) == fired(1, attempt=2, retry_of="e2")


def test_a_run_is_not_tried_again_more_often_than_asked():
    told = (
        *(minutely(retries=1), at(1, fired(1)), at(1.1, ended("e2", "failed"))),
        *(at(1.2, fired(1, attempt=2, retry_of="e2")), at(1.3, ended("e4", "failed"))),
    )
    assert step(1.9, *told) == Wait(NINE + 2 * MINUTE)


# -- runs that take too long ------------------------------------------------------------------


def test_what_is_at_work_is_stopped_when_the_time_is_up():
    told = (minutely(timeout_s=30), at(1, fired(1)), at(1, turn()), at(1.1, worker("w1")))
    assert step(1.4, *told) == Wait(NINE + round(1.5 * MINUTE))
    assert event(1.5, *told) == CancelRequested(
        run_id="w1", reason="the time limit of 30 s was reached"
    )


def test_a_run_that_nobody_ends_is_ended():
    to = Target(adapter="portal", conversation="terminal")
    told = (minutely(timeout_s=30, deliver_to=to), at(1, fired(1)), at(1, turn()))
    assert step(1.5, *told) == Wait(NINE + round(1.75 * MINUTE))
    expected = TimeOut(EventId("e2"), "the time limit of 30 s was reached", to)
    assert step(1.75, *told) == expected


def test_a_run_that_has_not_begun_has_all_its_time():
    once = minutely(schedule=Schedule(once_at=NINE + MINUTE), timeout_s=30)
    assert step(30, once, at(1, fired(1))) == Wait(None)


def test_workers_that_are_done_need_no_stopping():
    told = (
        *(minutely(timeout_s=30), at(1, fired(1)), at(1, turn()), at(1.1, worker("w1"))),
        at(1.2, caused_by("x", worker_concluded("w1"))),
    )
    assert step(1.6, *told) == Wait(NINE + round(1.75 * MINUTE))


def test_folding_an_event_twice_changes_nothing():
    told = story(minutely(), at(1, fired(1)), at(1, turn()), at(1.5, ended()), subject=JOB)
    once = twice = Job("digest")
    for recorded in told:
        once = evolve(once, recorded)
        twice = evolve(evolve(twice, recorded), recorded)
        assert once == twice


def test_a_look_through_what_was_said_in_a_jobs_conversation_is_no_work_of_its_run():
    open_ = job(minutely(), fired(1), turn(), persistence()).open
    assert [it.runs for it in open_] == [()]


def test_an_edit_moves_the_result_of_a_run_that_has_begun_nowhere_else():
    here = Target(adapter="portal", conversation="here")
    there = Target(adapter="portal", conversation="there")
    told = (at(0, minutely(deliver_to=here)), at(1, fired(1)), at(1, turn()))
    found = step(60, *told, at(2, minutely(deliver_to=there)))
    assert isinstance(found, TimeOut)
    assert found.deliver_to == here


# -- budgets ----------------------------------------------------------------------------------


def with_used_up(minutes, *events):
    return decide(job(*events), now=NINE + round(minutes * MINUTE), used_up="budget x is used up")


def test_a_time_whose_budget_is_used_up_is_skipped_and_says_which():
    found = with_used_up(1, minutely()).event
    assert (found.reason, found.detail) == ("budget", "budget x is used up")


def test_why_else_there_is_no_run_comes_first():
    assert with_used_up(2, minutely(), fired(1)).event.reason == "overlap"


def test_a_run_that_a_budget_ended_is_no_failure_of_the_jobs():
    definition = minutely(retries=2, retry_delay_s=1.0, breaker_failures=1)
    told = (definition, at(1, fired(1)), at(1.1, ended(outcome="blocked", budget="x")))
    found = job(*told)
    assert (found.failures, found.retry) == (0, None)
    assert event(2, *told) == fired(2)
