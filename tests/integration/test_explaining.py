"""`why` says the same, whether what it tells is in the read model, in the log, or half and half."""

import msgspec
import pytest

from schemas.base import EventId
from schemas.channel import TurnStarted
from schemas.schedule import (
    DeliveryRefused,
    OccurrenceDelivered,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    Target,
)
from schemas.subjects import parse
from services.api.explaining import Explaining
from tests.support.builders import START, Given, story
from tests.support.jobs import JOB, MINUTE, NINE, minutely
from tests.support.read_models import StoredLog, project
from tests.support.stories import Story

pytestmark = pytest.mark.integration

UNTIL, NOW = NINE + 10 * MINUTE, NINE + 60 * MINUTE
THERE = Target(adapter="portal", conversation="terminal")


def at(minute, event, id_=None):
    return Given(event, id=id_, at_s=(NINE - START) / 1_000_000 + minute * 60)


def fired(minute, id_, **fields):
    return at(minute, OccurrenceFired(due_at=NINE + minute * MINUTE, **fields), id_)


def ended(minute, id_, outcome="succeeded", reason=""):
    event = OccurrenceEnded(occurrence=EventId(id_), outcome=outcome, reason=reason)
    return at(minute, event)


def delivered(minute, id_):
    return at(minute, OccurrenceDelivered(occurrence=EventId(id_), to=THERE, event=EventId("x")))


TOLD = story(
    minutely(),
    *(fired(1, "well"), at(1, TurnStarted(turn_id="t1", owner="o", occurrence=EventId("well")))),
    *(ended(1.2, "well"), delivered(1.3, "well")),
    *(fired(2, "remarked"), ended(2.1, "remarked", reason="nothing to say")),
    *(fired(3, "failed"), ended(3.1, "failed", "failed", "no model")),
    *(fired(3.2, "again", attempt=2, retry_of=EventId("failed")), ended(3.3, "again")),
    *(fired(3.5, "by_hand", manual=True), ended(3.6, "by_hand")),
    *(fired(4, "untold"), ended(4.1, "untold")),
    at(4.2, DeliveryRefused(occurrence=EventId("untold"), to=THERE, reason="no such agent")),
    at(5, OccurrenceSkipped(due_at=NINE + 5 * MINUTE, reason="overlap", because=EventId("well"))),
    at(
        7,
        OccurrenceMissed(
            due_at=NINE + 6 * MINUTE,
            reason="not_running",
            down_from_at=NINE + 5 * MINUTE,
            down_to_at=NINE + 7 * MINUTE,
            policy="once",
        ),
    ),
    *(fired(7, "for_both", stands_for=1), ended(7.1, "for_both")),
    *(fired(8, "late"), ended(8.1, "late"), delivered(8.4, "late")),
    fired(9, "going_on"),
    subject=JOB,
)


async def asked(pool, told, subject, *, until=UNTIL, now=NOW):
    explaining = Explaining(StoredLog(told), pool, subject.tenant)
    return await explaining.job(subject.agent, subject.conversation, after=0, until=until, now=now)


@pytest.mark.parametrize("projected", [0, 4, 9, 14, 20, len(TOLD)])
async def test_a_job_is_explained_alike_from_the_read_model_and_from_the_log(pool, projected):
    from_log = await asked(pool, TOLD, JOB)
    assert {line.verdict for line in from_log.lines} == {
        *("ran", "failed", "skipped", "missed", "running", "unrecorded")
    }
    await project(pool, TOLD[:projected])
    assert await asked(pool, TOLD, JOB) == from_log


async def test_every_job_of_a_story_is_explained_alike(pool):
    told = [each for each in Story(81).tell(1_500) if each.problem is None]
    jobs = {each.subject for each in told if parse(each.subject).adapter == "cron"}
    assert jobs
    day = {"until": START + 1_440 * MINUTE, "now": START + 1_440 * MINUTE}
    from_log = {job: await asked(pool, told, parse(job), **day) for job in jobs}
    await project(pool, told)
    for job, answer in from_log.items():
        assert (await asked(pool, told, parse(job), **day)).lines == [
            msgspec.structs.replace(line, why=line.why.replace("\0", "\N{REPLACEMENT CHARACTER}"))
            for line in answer.lines
        ]
    assert any(line.occurrence for answer in from_log.values() for line in answer.lines)
