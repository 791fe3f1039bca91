"""From what people say of a job to its definition."""

import msgspec
import pytest

from schemas.schedule import JobDefined, Target
from services.runtime.jobs.cron import InvalidSchedule
from services.runtime.jobs.request import JobRequest, define, moment, named, seconds
from services.runtime.jobs.schedule import dues
from tests.support.jobs import MINUTE, NINE, utc


def asked(before=None, *, now=NINE, prompt="look", zone="UTC", **said):
    return define(JobRequest(**said), before, now=now, effective_at=now, prompt=prompt, zone=zone)


def test_a_job_has_the_usual_limits():
    job = asked(cron="0 9 * * *")
    assert (job.timeout_s, job.inactivity_s, job.breaker_failures) == (600, 600, 3)
    assert (job.misfire, job.overlap, job.retries) == ("once", "skip", 0)


def test_an_interval_is_counted_from_when_it_was_said():
    assert asked(every="30m").schedule.anchor_at == NINE


def test_an_edit_keeps_what_it_does_not_say():
    job = asked(every="30m", deliver_to="portal/terminal", retries=2)
    edited = asked(job, now=NINE + MINUTE, prompt=None, timeout="5m")
    assert edited.schedule == job.schedule
    assert (edited.prompt, edited.retries, edited.timeout_s) == ("look", 2, 300)
    assert edited.deliver_to == Target(adapter="portal", conversation="terminal")
    assert edited.effective_at == NINE + MINUTE


def test_an_edit_of_the_kind_of_schedule_leaves_nothing_of_the_other():
    job = asked(every="30m", active="09:00-17:00")
    edited = asked(job, cron="0 9 * * *")
    assert (edited.schedule.every_s, edited.schedule.anchor_at) == (None, None)
    assert edited.schedule.active_to == "17:00"


def test_none_clears_what_may_be_left_out():
    job = asked(
        cron="0 9 * * *", active="9:00-17:00", end="2027-01-01", deliver_to="portal/x", model="a/b"
    )
    bare = asked(job, active="none", end="none", deliver_to="none", model="none")
    assert (bare.schedule.active_from, bare.schedule.end_at) == (None, None)
    assert (bare.deliver_to, bare.model) == (None, None)


def test_a_time_without_an_offset_is_one_of_the_zone():
    assert moment("2026-07-01 09:00", "Europe/Berlin") == utc("2026-07-01 07:00")
    assert moment("2026-07-01 09:00+00:00", "Europe/Berlin") == utc("2026-07-01 09:00")


def test_a_short_run_has_no_longer_steps():
    assert asked(every="30m", timeout="1m").inactivity_s == 60


@pytest.mark.parametrize(
    ("said", "found"),
    [("30s", 30), ("90m", 5_400), ("1h30m", 5_400), ("2d", 172_800), ("1w", 604_800)],
)
def test_lengths_of_time(said, found):
    assert seconds(said) == found


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"every": "soon"}, "no length of time"),
        ({"every": "0s"}, "shortest interval"),
        ({"every": "30m", "cron": "@daily"}, "one of cron, every and at"),
        ({"at": "yesterday"}, "no time"),
        ({"at": "2020-01-01 09:00"}, "is over"),
        ({}, "exactly one of"),
        ({"every": "30m", "active": "9-17"}, "no active hours"),
        ({"every": "30m", "active": "25:00-26:00"}, "no active hours"),
        ({"every": "30m", "deliver_to": "nowhere"}, "no conversation"),
        ({"every": "30m", "deliver_to": "cron/digest"}, "no conversation"),
        ({"every": "30m", "timeout": "0s"}, "timeout cannot be"),
        ({"every": "30m", "end": "2020-01-01"}, "never be due"),
        ({"every": "30m", "zone": "Mars/Olympus"}, "no IANA time zone"),
        ({"every": "30m", "prompt": ""}, "needs a prompt"),
        ({"every": "9" * 400 + "s"}, "no length of time"),
        ({"every": "9" * 5_000 + "s"}, "no length of time"),
        ({"every": "30m", "jitter": "9" * 400 + "s"}, "no length of time"),
        ({"every": "30m", "timeout": "9" * 400 + "s"}, "no length of time"),
        ({"every": "30m", "start": "1969-12-31"}, "between 1970 and 2999"),
        ({"every": "30m", "start": "0001-01-01", "zone": "Asia/Tokyo"}, "between 1970 and 2999"),
        ({"at": "9999-12-31 23:59", "zone": "America/New_York"}, "between 1970 and 2999"),
        ({"at": "9999-12-31T23:59-12:00"}, "between 1970 and 2999"),
        ({"every": "1h", "start": "9999-12-31 23:59", "active": "09:00-17:00"}, "between 1970"),
        ({"cron": "0," * 1_000 + "0 9 * * *"}, "characters"),
    ],
)
def test_what_cannot_be_honoured_is_refused(said, reason):
    prompt = said.pop("prompt", "look")
    with pytest.raises(InvalidSchedule) as refused:
        asked(prompt=prompt, **said)
    assert reason in str(refused.value)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC", "America/New_York"])
@pytest.mark.parametrize("start", ["1970-01-01", "2999-12-31 23:59"])
@pytest.mark.parametrize(
    "kind",
    [
        {"every": "1h"},
        {"every": "1h", "active": "22:00-06:00"},
        {"cron": "0 9 * * *"},
        {"cron": "0 9 * * *", "active": "09:00-17:00"},
    ],
)
def test_what_is_taken_can_be_read_back(zone, start, kind):
    """An event that nobody can decode is a job that never runs and that nobody hears of."""
    try:
        job = asked(zone=zone, start=start, **kind)
    except InvalidSchedule:
        return
    assert msgspec.json.decode(msgspec.json.encode(job), type=JobDefined) == job
    assert next(dues(job.schedule, NINE)) > NINE


@pytest.mark.parametrize("name", ["", "a/b", "a] b", " x", "tab\there", "x" * 65])
def test_a_name_that_no_subject_can_hold_is_refused(name):
    with pytest.raises(InvalidSchedule):
        named(name)
