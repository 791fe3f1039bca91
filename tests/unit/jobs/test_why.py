"""Why a job ran when it did, and why it did not when it should have."""

from schemas.base import EventId
from schemas.channel import TurnStarted
from schemas.schedule import (
    JobDeleted,
    JobPaused,
    JobResumed,
    OccurrenceDelivered,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    Schedule,
    Target,
)
from services.runtime.jobs.expected import timeline
from services.runtime.jobs.ledger import Ledger
from services.runtime.jobs.why import explain, minute_of
from tests.support.builders import START, at as placed, story
from tests.support.jobs import JOB, MINUTE, NINE, minutely

AT = (NINE - START) / 1_000_000


def at(minutes, event):
    return placed(AT + minutes * 60, event)


def answer(*events, after=0.0, until=9.5, now=9.5):
    told = story(*events, subject=JOB)
    ledger = Ledger()
    for recorded in told:
        ledger.take(recorded)
        ledger.take(recorded)
    return explain(
        "atlas",
        "digest",
        timeline(told),
        ledger.all(),
        after=NINE + round(after * MINUTE),
        until=NINE + round(until * MINUTE),
        now=NINE + round(now * MINUTE),
    )


def lines(*events, **window):
    return [
        ((line.due_at - NINE) / MINUTE, line.verdict, line.why)
        for line in answer(*events, **window).lines
    ]


def fired(minute, **fields):
    return at(minute, OccurrenceFired(due_at=NINE + minute * MINUTE, **fields))


def ended(minute, occurrence, outcome="succeeded", reason=""):
    return at(
        minute, OccurrenceEnded(occurrence=EventId(occurrence), outcome=outcome, reason=reason)
    )


def test_a_run_says_how_it_came_out_and_who_was_told():
    turn = TurnStarted(turn_id="t1", owner="one", occurrence=EventId("e2"))
    to = Target(adapter="portal", conversation="terminal")
    delivered = OccurrenceDelivered(occurrence=EventId("e2"), to=to, event=EventId("x"))
    told = (minutely(), fired(1), at(1, turn), ended(1.5, "e2"), at(1.6, delivered))
    assert lines(*told, until=1.7) == [
        (1, "ran", "succeeded after 30 s; told portal/terminal"),
    ]


def test_a_run_that_goes_on_says_since_when_or_for_whom_it_waits():
    assert lines(minutely(), fired(1), until=1.5) == [
        (1, "running", "waits for a channel service to begin it")
    ]
    turn = TurnStarted(turn_id="t1", owner="one", occurrence=EventId("e2"))
    assert lines(minutely(), fired(1), at(1, turn), until=1.5)[0][2] == (
        "running since 2026-05-01 09:01:00 UTC"
    )


def test_times_missed_name_the_outage_and_the_run_that_made_up_for_them():
    down = {"down_from_at": NINE + MINUTE // 2, "down_to_at": NINE + 3 * MINUTE}
    missed = [
        at(
            3,
            OccurrenceMissed(due_at=NINE + m * MINUTE, reason="not_running", policy="once", **down),
        )
        for m in (1, 2)
    ]
    told = (minutely(), *missed, at(3, OccurrenceFired(due_at=NINE + 3 * MINUTE, stands_for=2)))
    outage = (
        "no scheduler ran from 2026-05-01 09:00:30 UTC to 2026-05-01 09:03:00 UTC; "
        "made up for by the run of 2026-05-01 09:03:00 UTC"
    )
    found = lines(*told, ended(3.5, "e4"), until=3.5)
    assert found[:2] == [(1, "missed", outage), (2, "missed", outage)]
    assert found[2][1:] == ("ran", "it makes up for 2 missed before it; succeeded after 30 s")


def test_an_overlap_names_the_run_that_was_in_the_way():
    skipped = OccurrenceSkipped(due_at=NINE + 2 * MINUTE, reason="overlap", because=EventId("e2"))
    turn = TurnStarted(turn_id="t1", owner="one", occurrence=EventId("e2"))
    told = (minutely(), fired(1), at(1, turn), at(2, skipped), ended(2.5, "e2"))
    assert lines(*told, until=2.5)[1] == (
        2,
        "skipped",
        "the run of 2026-05-01 09:01:00 UTC was going on until 2026-05-01 09:02:30 UTC",
    )
    assert answer(*told, until=2.5).lines[1].because == "e2"


def test_a_pause_names_who_and_why_and_needs_no_record():
    told = (
        minutely(),
        at(0.5, JobPaused(effective_at=NINE + MINUTE // 2, reason="holidays")),
        at(2.5, JobResumed(effective_at=NINE + 5 * MINUTE // 2)),
        *(fired(3), ended(3.1, "e4")),
    )
    found = answer(*told, until=3.5)
    assert [(line.verdict, line.because) for line in found.lines] == [
        ("paused", "e2"),
        ("paused", "e2"),
        ("ran", None),
    ]
    assert found.lines[0].why == "paused by test at 2026-05-01 09:00:30 UTC: holidays"
    assert found.complete


def test_a_time_that_nobody_recorded_is_a_gap_once_its_grace_is_over():
    assert lines(minutely(), until=1.1, now=1.1) == [(1, "waiting", "it is due now")]
    found = answer(minutely(), until=2.5, now=2.5)
    assert [line.verdict for line in found.lines] == ["unrecorded", "unrecorded"]
    assert "no scheduler has recorded it since 2026-05-01 09:01:00 UTC" in found.lines[0].why
    assert not found.complete


def test_runs_beside_the_schedule_are_told_as_what_they_are():
    manual = at(0.5, OccurrenceFired(due_at=NINE + MINUTE // 2, manual=True))
    again = at(1.5, OccurrenceFired(due_at=NINE + MINUTE, attempt=2, retry_of=EventId("e3")))
    told = (
        *(minutely(retries=1), manual, fired(1)),
        *(ended(1.2, "e3", "failed", "no model"), again, ended(1.6, "e5")),
    )
    assert [line[1:] for line in lines(*told, until=1.7)] == [
        ("running", "run now by test; waits for a channel service to begin it"),
        ("failed", "failed after 12 s; no model"),
        ("ran", "attempt 2; succeeded after 6.0 s"),
    ]


def test_a_deleted_job_says_who_deleted_it():
    told = (minutely(), at(0.5, JobDeleted(effective_at=NINE + 1)))
    assert lines(*told, until=1.5)[0][1:] == (
        "deleted",
        "deleted by test at 2026-05-01 09:00:30 UTC",
    )


def test_the_breaker_names_the_failure_that_opened_it():
    skipped = OccurrenceSkipped(due_at=NINE + MINUTE, reason="breaker", because=EventId("e9"))
    (line,) = answer(minutely(), at(1, skipped), until=1.5).lines
    assert (line.verdict, line.because) == ("skipped", "e9")
    assert "circuit breaker" in line.why


def note(definition, *, until, after=None, now=99.0):
    window = {"after": until - 1 if after is None else after, "until": until}
    return answer(definition, now=now, **window).note


def test_a_window_without_a_time_says_why():
    office = minutely(
        schedule=Schedule(cron="*/30 * * * *", active_from="09:00", active_to="10:00")
    )
    assert note(office, until=90.5, now=99).startswith(
        "that is outside its active hours, 09:00-10:00 UTC; it is due next at 2026-05-02 09:00:00"
    )
    assert note(office, until=20) == (
        "its schedule has no time there; it is due next at 2026-05-01 09:30:00 UTC"
    )
    assert note(office, until=-5).startswith("the job was defined at")
    ends = minutely(schedule=Schedule(every_s=60, anchor_at=NINE, end_at=NINE + MINUTE))
    assert note(ends, until=5) == "it ended at 2026-05-01 09:01:00 UTC"
    begins = minutely(schedule=Schedule(every_s=60, anchor_at=NINE, start_at=NINE + 50 * MINUTE))
    assert note(begins, until=5).startswith("it does not start before 2026-05-01 09:50:00 UTC")


def test_the_future_is_still_to_come():
    assert note(minutely(), after=5, until=6, now=1) == (
        "that is still to come; it is due next at 2026-05-01 09:02:00 UTC"
    )


def test_a_minute_holds_its_first_instant():
    after, until = minute_of(NINE)
    assert after < NINE <= until
    assert until - after == MINUTE
