"""A run comes to an end whatever becomes of its agent, its journal or our own code."""

import pytest
from structlog.testing import capture_logs

from schemas.base import AgentId
from schemas.channel import InputRouted, WorkerConcluded, WorkerReported
from schemas.config import AgentRetired
from schemas.dead import DeliveryParked
from schemas.run import RunEnded
from services.runtime.agents import config_subject
from services.runtime.model import ModelAnswer, ModelRequest
from tests.support.builders import CONVERSATION
from tests.support.replicas import Deliveries, MortalWorkers, Replica, Shared, nothing
from tests.support.scripted_model import calls, does


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


def brain(request: ModelRequest) -> ModelAnswer:
    """Start an interactive worker when a person speaks; the worker gives a result at once."""
    if request.kind == "worker":
        return does(calls("set_status", kind="outcome", outcome="succeeded", status="done"))
    newest = next(m for m in reversed(request.messages) if not m.content.startswith("[status]"))
    if "[Ana]" in newest.content:
        return does(calls("spawn_worker", task="build", interactive=True), calls("skip"))
    return does(calls("skip"))


@pytest.fixture
async def shared(tmp_path):
    shared = Shared(brain, place=tmp_path)
    await shared.define()
    return shared


@pytest.fixture
def deliveries(shared):
    return Deliveries(shared)


def events(shared, *kinds):
    return [r.event for r in shared.log.events if isinstance(r.event, kinds)]


async def test_input_for_a_worker_whose_agent_is_gone_ends_it(shared, deliveries):
    await shared.say("start")
    await deliveries.settle()
    (waiting,) = events(shared, WorkerReported)
    retired = AgentRetired(agent=AgentId("atlas"))
    await shared.log.append(config_subject("acme"), shared.outside.seal(retired))
    deliveries.replica = Replica(shared)  # which never knew the agent
    routed = InputRouted(run_id=waiting.run_id, text="more")
    await shared.log.append(str(CONVERSATION), shared.outside.seal(routed))
    await deliveries.settle()
    (ended,) = events(shared, RunEnded)
    assert (ended.run_id, ended.outcome) == (waiting.run_id, "failed")
    assert "has no agent 'atlas'" in ended.reason
    (concluded,) = events(shared, WorkerConcluded)
    assert concluded.outcome == "failed"


async def test_a_run_that_our_own_code_cannot_drive_ends_too(shared, deliveries, monkeypatch):
    async def plan(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(MortalWorkers, "plan", plan)
    await shared.say("start")
    await deliveries.settle()
    (ended,) = events(shared, RunEnded)
    (concluded,) = events(shared, WorkerConcluded)
    assert ended.outcome == concluded.outcome == "failed"
    assert "7 times in a row" in ended.reason
    assert events(shared, DeliveryParked) == []


async def test_a_worker_of_whose_journal_something_is_lost_for_good_ends(shared, deliveries):
    long = calls("file_write", path="notes.txt", content="x" * 30_000)

    def verbose(request):
        return does(long) if request.kind == "worker" else brain(request)

    async def die_and_lose_the_calls(replica, point):
        if (point.when, point.what) == ("before", "tool_called") and "worker" in point.subject:
            shared.hook = nothing
            for sha256 in [sha for sha, body in shared.bodies.bodies.items() if b"xxxx" in body]:
                del shared.bodies.bodies[sha256]
            replica.kill()

    shared.model.brain = verbose
    shared.hook = die_and_lose_the_calls
    await shared.say("start")
    await deliveries.settle()
    (ended,) = events(shared, RunEnded)
    assert ended.outcome == "failed"
    assert "is not in the store" in ended.reason
    assert [told.outcome for told in events(shared, WorkerConcluded)] == ["failed"]
    assert events(shared, DeliveryParked) == []
