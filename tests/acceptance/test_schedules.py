"""Schedulers are killed before, between and after due and recorded: every time has its record."""

import pytest

from schemas.channel import ResultDelivered
from schemas.schedule import (
    JobDefined,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
)
from services.runtime.clock import SystemClock
from services.runtime.jobs.desk import subject_of
from services.runtime.jobs.expected import expected, timeline
from tests.support.fleet import BROKEN_OFF, installation
from tests.support.servers import until

pytestmark = [pytest.mark.acceptance, BROKEN_OFF]

OFFLINE = {"PENSTOCK_MODEL": "offline/rules", "PENSTOCK_SCHEDULER_ALIVE_S": "1"}
RECORDS = (OccurrenceFired, OccurrenceSkipped, OccurrenceMissed)
TICK = subject_of("default", "main", "tick")


async def create(running, *more):
    made = await running.fleet.command(
        *("job", "create", "tick", "--every", "1s", "--grace", "1s", "--prompt", "say tick"), *more
    )
    assert made.returncode == 0, made.stderr


async def told(running):
    return [it async for it in running.log.read(str(TICK), fresh=True)]


async def records(running):
    return [it.event for it in await told(running) if isinstance(it.event, RECORDS)]


async def assert_recorded_is_expected(running):
    events = await told(running)
    due = [it.event.due_at for it in events if isinstance(it.event, RECORDS)]
    assert due == [it.due_at for it in expected(timeline(events), 0, due[-1])]


async def test_schedulers_killed_at_random_lose_and_double_nothing(
    own_nats, database_url, tmp_path
):
    fleet = {"scheduler": 2, "channel+branch+worker+projector": 1}
    async with installation(own_nats.url, database_url, tmp_path, fleet, **OFFLINE) as running:
        await create(running, "--misfire", "all")
        await running.fleet.kill_at_random(12, (0.2, 1.4), services=["scheduler"], seed=11)
        seen = len(await records(running))

        async def goes_on():
            return len(await records(running)) > seen + 2

        await until(goes_on, timeout_s=60)
        await assert_recorded_is_expected(running)
        fired = [it for it in await told(running) if isinstance(it.event, OccurrenceFired)]
        ended = [it.event for it in await told(running) if isinstance(it.event, OccurrenceEnded)]
        assert len({it.occurrence for it in ended}) == len(ended)
        place = str(TICK._replace(adapter="portal", conversation="terminal"))
        results = [
            it.event.occurrence
            async for it in running.log.read(place, fresh=True)
            if isinstance(it.event, ResultDelivered)
        ]
        assert len(set(results)) == len(results)
        assert set(results) <= {it.envelope.id for it in fired}


async def test_after_an_outage_of_everything_why_shows_each_missed_time_and_what_made_up_for_them(
    own_nats, database_url, tmp_path
):
    fleet = {"channel+branch+worker+projector+scheduler": 1}
    async with installation(own_nats.url, database_url, tmp_path, fleet, **OFFLINE) as running:
        await create(running)

        async def has_run():
            return any(isinstance(it.event, OccurrenceEnded) for it in await told(running))

        await until(has_run, timeout_s=60)
        (slot,) = running.fleet.slots
        await running.fleet.end(slot)
        last = (await records(running))[-1].due_at

        async def time_has_passed():
            return SystemClock().now() > last + 8_000_000

        await until(time_has_passed, timeout_s=60)
        await running.fleet.launch(slot)

        async def is_made_up_for():
            found = [it for it in await records(running) if isinstance(it, OccurrenceFired)]
            return any(it.stands_for for it in found)

        await until(is_made_up_for, timeout_s=60)
        await assert_recorded_is_expected(running)
        missed = [it for it in await records(running) if isinstance(it, OccurrenceMissed)]
        assert len(missed) >= 5
        assert {it.reason for it in missed} == {"not_running"}
        assert all(it.down_from_at <= it.due_at <= it.down_to_at for it in missed)
        answer = await running.fleet.command("why", "tick")
        assert answer.returncode == 1, answer.stderr
        assert "no scheduler ran from" in answer.stdout
        assert "made up for by the run of" in answer.stdout
        gaps = await running.fleet.command("why", "--missed")
        assert (gaps.returncode, "tick of main" in gaps.stdout) == (1, True)
        definition = [it for it in await told(running) if isinstance(it.event, JobDefined)]
        assert len(definition) == 1
