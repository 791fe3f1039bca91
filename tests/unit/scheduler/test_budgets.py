"""A job that is due while its budget is used up: skipped, once, with what there is to know."""

import pytest
from structlog.testing import capture_logs

from services.runtime.jobs.expected import timeline
from services.runtime.jobs.ledger import Ledger
from services.runtime.jobs.why import explain
from services.runtime.writer import Writer
from tests.support.budgets import budget, reserved, settled
from tests.support.jobs import JOB
from tests.support.schedulers import BEGIN, World

SPEND = "evt.acme._._._.spend.2026-01"


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


async def spend(world, *events):
    writer = Writer(world.log, world.clock, "test")
    for event in events:
        await world.log.append(SPEND, writer.seal(event))


def call(id_, **fields):
    fields = {"day": "2026-01-01", "job": JOB.conversation, **fields}
    return reserved(id_, **fields), settled(id_)


def reasons(world):
    return [getattr(it, "reason", "fired") for it in world.records()]


async def minutes(world, number):
    for _ in range(number):
        world.clock.advance(60)
        await world.look()
        await world.end_runs()
        await world.look()


async def test_it_is_skipped_from_the_moment_that_its_smallest_call_does_not_fit():
    world = World(budgets=(budget(calls=2),))
    await world.define(every="1m")
    await world.start("one")
    await minutes(world, 2)
    await spend(world, *call("a"), *call("b"))
    await minutes(world, 3)
    assert reasons(world) == ["fired", "fired", "budget", "budget", "budget"]


async def test_many_schedulers_record_it_once():
    world = World(budgets=(budget(calls=0),))
    await world.define(every="1m")
    for name in ("one", "two", "three"):
        await world.start(name)
    await minutes(world, 3)
    assert reasons(world) == ["budget"] * 3
    world.assert_recorded_is_expected()


async def test_it_runs_again_when_the_budget_begins_anew():
    world = World(budgets=(budget(calls=1),))
    await world.define(every="1m")
    await world.start("one")
    await spend(world, *call("a"))
    await minutes(world, 1)
    world.clock.advance(86_400)
    await minutes(world, 1)
    assert reasons(world)[0] == "budget"
    assert reasons(world)[-1] == "fired"


async def test_a_limit_that_is_raised_holds_from_the_next_start():
    world = World(budgets=(budget(calls=1),))
    await world.define(every="1m")
    await world.start("one")
    await spend(world, *call("a"))
    await minutes(world, 1)
    world.kill("one")
    world.budgets = (budget(calls=2),)
    await world.start("one")
    await minutes(world, 1)
    assert reasons(world) == ["budget", "fired"]


async def test_another_jobs_budget_is_no_reason():
    world = World(budgets=(budget(calls=0, agent="atlas", job="other"),))
    await world.define(every="1m")
    await world.start("one")
    await minutes(world, 2)
    assert reasons(world) == ["fired", "fired"]


async def test_why_names_the_budget_its_limit_what_was_spent_and_by_what():
    world = World(budgets=(budget(usd=0.1),))
    await world.define(every="1m")
    await world.start("one")
    await spend(world, *call("a", usd=0.06))
    await minutes(world, 1)
    told = [it for it in world.log.events if it.subject == str(JOB)]
    ledger = Ledger()
    for recorded in told:
        ledger.take(recorded)
    answer = explain(
        "atlas",
        JOB.conversation,
        timeline(told),
        ledger.all(),
        after=BEGIN,
        until=world.clock.now(),
        now=world.clock.now(),
    )
    (line,) = answer.lines
    assert line.verdict == "skipped"
    assert line.why == (
        "budget team is used up: $0.05 of $0.10 a day spent, the next call may need $0.06; "
        "it begins anew at 2026-01-02 00:00 UTC; most was used by job digest of atlas: $0.05"
    )
