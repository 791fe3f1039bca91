"""Whatever dies at whatever point: each message has one trace, and no span in it lacks its parent.

The services are real, and every event is sealed by them; only the log, the model and the sandbox
are in memory.
"""

import asyncio
from contextvars import Context

import pytest

from schemas.channel import MessageReceived, TurnResumed
from services.runtime.telemetry.context import ROOTS, trace_of
from tests.support.crashes import Scenario, at_every_point, at_pairs_of_points, saying, tell
from tests.support.traced import check
from tests.unit.channel import test_jobs as jobs
from tests.unit.channel.test_budgets import BLOCKED
from tests.unit.channel.test_crashes import DELEGATE, REACT_AND_TALK, TWICE
from tests.unit.cli.test_replay import forked
from tests.unit.worker.test_crashes import BUILD, FOLLOW_UP


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    monkeypatch.setattr(ROOTS, "sampler", lambda trace_id: True)


def whole(told):
    """Return nothing: what is the same in every telling is that the check holds."""
    check(told.log.events)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(REACT_AND_TALK, id="a reaction and text"),
        pytest.param(DELEGATE, id="a branch and a reply"),
        pytest.param(TWICE, id="one turn after another"),
        pytest.param(BUILD, id="a worker"),
        pytest.param(FOLLOW_UP, id="an interactive worker"),
        pytest.param(jobs.DELEGATES, id="a run of a job with a branch"),
        pytest.param(BLOCKED, id="a branch that no budget has room for"),
    ],
)
async def test_a_crash_at_any_point_leaves_whole_traces(scenario, tmp_path):
    assert await at_every_point(scenario, tmp_path, also=whole) >= 12


async def test_two_crashes_leave_whole_traces(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("tests.support.crashes.check", lambda it, **_: told.append(it))
    await at_pairs_of_points(BUILD, tmp_path, pairs=20)
    assert len(told) == 20
    for each in told:
        check(each.log.events)


async def test_what_follows_from_a_message_is_in_its_trace_and_nothing_else_is(tmp_path):
    told = await tell(TWICE, tmp_path)
    first, second = [it for it in check(told.log.events) if it.operation == "invoke_workflow"]
    assert first.trace_id != second.trace_id
    for turn in (first, second):
        events = [
            it for it in told.log.events if it.envelope.turn == turn.attributes["penstock.turn.id"]
        ]
        traces = {it.envelope.traceparent.split("-")[1] for it in events}
        assert traces == {turn.trace_id}


async def test_a_fork_is_traced_where_it_begins_and_where_it_answers_what_it_shares(tmp_path):
    told = await forked(tmp_path, "build", "think")
    spans = check(told.log.events)
    turns = [it for it in spans if it.operation == "invoke_workflow"]
    in_forks = {
        it.attributes["penstock.trigger"]
        for it in turns
        if it.attributes["penstock.adapter"] == "fork"
    }
    assert in_forks <= {"fork", "message"}
    assert in_forks


async def from_outside(saying):
    """Let somebody say something whom the trace of what is handled here does not concern."""
    await asyncio.create_task(saying, context=Context())


async def test_a_message_that_comes_during_a_turn_is_answered_in_its_own_trace(tmp_path):
    async def interrupting(replica, point):
        if point.what == "model" and point.when == "before" and not interrupted:
            interrupted.append(point)
            await from_outside(replica.shared.say("again"))

    interrupted = []
    told = await tell(Scenario(TWICE.brain, saying("hello")), tmp_path, interrupting)
    turns = [it for it in check(told.log.events) if it.operation == "invoke_workflow"]
    assert len({it.trace_id for it in turns}) == 2
    messages = [it for it in told.log.events if isinstance(it.event, MessageReceived)]
    assert [it.trace_id for it in turns] == [trace_of(it.envelope.id) for it in messages]
    assert [it.attributes["penstock.trigger"] for it in turns] == ["message", "message"]


@pytest.mark.parametrize("number", range(4))
async def test_whoever_takes_that_turn_over_goes_on_in_the_trace_of_its_message(tmp_path, number):
    """The delivery that comes again is that of the first message; the turn is the second's."""
    interrupted = []

    async def hook(replica, point):
        if point.what == "model" and point.when == "before":
            interrupted.append(len(replica.shared.points))
            if len(interrupted) == 1:
                await from_outside(replica.shared.say("again"))
        if len(interrupted) > 1 and len(replica.shared.points) == interrupted[1] + number:
            replica.kill()

    told = await tell(Scenario(TWICE.brain, saying("hello")), tmp_path, hook)
    assert any(isinstance(it.event, TurnResumed) for it in told.log.events)
    turns = [it for it in check(told.log.events) if it.operation == "invoke_workflow"]
    messages = [it for it in told.log.events if isinstance(it.event, MessageReceived)]
    assert [it.trace_id for it in turns] == [trace_of(it.envelope.id) for it in messages]


async def test_a_run_of_a_job_is_one_trace_from_its_time_to_its_delivery(tmp_path):
    told = await tell(jobs.DELEGATES, tmp_path)
    spans = check(told.log.events)
    (fired,) = [it for it in spans if it.attributes.get("penstock.outcome") == "fired"]
    of_run = [it for it in spans if it.trace_id == fired.trace_id]
    chats = [it for it in spans if it.operation == "chat"]
    assert chats == [it for it in of_run if it.operation == "chat"]
    assert {it.attributes["penstock.trigger"] for it in chats} == {"job"}
    assert {it.name for it in of_run if it.operation.startswith("invoke")} == {
        "invoke_workflow scheduled_run",
        "invoke_agent atlas/branch",
    }
    assert any(it.attributes.get("penstock.event.type") == "result_delivered" for it in of_run)
