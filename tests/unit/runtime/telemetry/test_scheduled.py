"""Times of jobs begin traces, and what the scheduler does about a run is in that run's trace."""

import pytest

from schemas.base import RunId
from schemas.channel import BranchRequested, CancelRequested, TurnStarted
from schemas.schedule import OccurrenceEnded, OccurrenceFired, OccurrenceMissed
from services.runtime.telemetry.context import ROOTS, parsed, span_of, trace_of
from services.runtime.writer import Writer
from tests.support.jobs import JOB
from tests.support.traced import spans_of
from tests.unit.scheduler.test_replicas import World


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    monkeypatch.setattr(ROOTS, "sampler", lambda trace_id: True)


def of_type(world, event_type):
    return [it for it in world.log.events if isinstance(it.event, event_type)]


async def test_every_time_begins_a_trace_whether_it_fires_or_not():
    world = World()
    await world.define(every="1m", misfire="skip")
    await world.start("one")
    world.clock.advance(60)
    await world.look()
    await world.end_runs()
    world.kill("one")
    world.clock.advance(300)
    await world.start("two")
    await world.look()
    spans = {it.span_id: it for it in spans_of(world.log.events)}
    times = [*of_type(world, OccurrenceFired), *of_type(world, OccurrenceMissed)]
    assert {type(it.event) for it in times} == {OccurrenceFired, OccurrenceMissed}
    for it in times:
        span = spans[span_of(it.envelope.id)]
        assert (span.trace_id, span.parent_id) == (trace_of(it.envelope.id), None)


async def test_a_run_that_takes_too_long_is_stopped_and_ended_in_its_own_trace():
    world = World()
    await world.define(every="1h", timeout="1m")
    await world.start("one")
    world.clock.advance(3_600)
    await world.look()
    (fired,) = of_type(world, OccurrenceFired)
    writer = Writer(world.log, world.clock, "channel")
    started = TurnStarted(turn_id=RunId("t1"), owner="one", occurrence=fired.envelope.id)
    branch = BranchRequested(run_id=RunId("b1"), task="dig", forked_at=fired.envelope.id)
    for event in (started, branch):
        envelope = writer.seal(event, cause=fired.envelope.id, turn=RunId("t1"))
        await world.log.append(str(JOB), envelope)
    for _ in range(3):
        world.clock.advance(90)
        await world.look()
    (stopped,), (ended,) = of_type(world, CancelRequested), of_type(world, OccurrenceEnded)
    for it in (stopped, ended):
        context = parsed(it.envelope.traceparent)
        assert context.trace_id == trace_of(fired.envelope.id)
        assert context.span_id == span_of(fired.envelope.id)
