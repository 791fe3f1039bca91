"""Work that nobody asked for is put off without a word while a budget is used up: no loop."""

import pytest
from structlog.testing import capture_logs

from schemas.base import MemoryId, RunId
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CheckpointCut,
    CompactionFailed,
    CompactionRequested,
    ReplySent,
)
from schemas.cortex import SynthesisFailed, SynthesisRequested
from schemas.run import ModelCalled, RunEnded
from schemas.subjects import Subject
from services.cli.replaying.recording import Recording
from services.cli.replaying.replay import Replay
from services.cli.replaying.runs import runs_of
from services.compactor.decider import Limits
from services.runtime.config import ChannelSettings, Config, PersistenceSettings
from tests.support.budgets import budget
from tests.support.builders import SHA
from tests.support.replicas import Deliveries, Shared
from tests.support.scripted_model import calls, does

NOTHING = (budget(calls=0),)


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


def brain(request):
    return does(calls("reply", text="yes"))


def events(shared, *kinds):
    return [it.event for it in shared.log.events if isinstance(it.event, kinds)]


async def assert_a_replay_does_not_part(shared, config):
    recording = Recording(shared.log.events, shared.bodies)
    found = await Replay(recording, config).all(runs_of(recording))
    assert found
    assert [it for it in found if it.divergence or it.problem] == []


async def test_looking_for_what_is_worth_keeping_is_put_off_until_somebody_says_more(tmp_path):
    settings = PersistenceSettings(messages=2, idle_s=60)
    shared = Shared(brain, place=tmp_path, persistence=settings, budgets=NOTHING)
    await shared.define()
    deliveries = Deliveries(shared)
    for text in ("one", "two"):
        await shared.say(text)
        await deliveries.settle()
    said = len(events(shared, ReplySent))
    for _ in range(5):
        shared.clock.advance(120)
        await deliveries.look()
        await deliveries.settle()
    (asked,) = [it for it in events(shared, BranchRequested) if it.purpose == "persistence"]
    (ended,) = [it for it in events(shared, BranchConcluded) if it.run_id == asked.run_id]
    assert ended.outcome == "blocked"
    assert len(events(shared, ReplySent)) == said, "nobody is told"
    assert not events(shared, ModelCalled)
    await shared.say("three")
    await deliveries.settle()
    shared.clock.advance(120)
    await deliveries.look()
    await deliveries.settle()
    asked = [it for it in events(shared, BranchRequested) if it.purpose == "persistence"]
    assert len(asked) == 2


async def test_a_synthesis_fails_for_this_time_and_is_not_tried_again(tmp_path):
    shared = Shared(brain, place=tmp_path, budgets=NOTHING)
    await shared.define()
    subject = Subject("acme", "atlas", entity="cortex", id="knowledge")
    event = SynthesisRequested(
        run_id=RunId("s1"), graph=SHA, memories=(MemoryId("m1"),), source="memories"
    )
    await shared.log.append(str(subject), shared.outside.seal(event))
    await Deliveries(shared).settle()
    (failed,) = events(shared, SynthesisFailed)
    assert failed.reason.startswith("budget team is used up")
    assert len(events(shared, RunEnded)) == 1
    assert not events(shared, ReplySent)


async def test_a_conversation_that_becomes_too_long_is_cut_without_a_model(tmp_path):
    keep = 5
    shared = Shared(
        brain,
        place=tmp_path,
        settings=ChannelSettings(history_entries=keep),
        limits=Limits(window_tokens=128_000, keep=keep),
        budgets=(budget(calls=4),),
    )
    await shared.define()
    deliveries = Deliveries(shared)
    for number in range(10):
        await shared.say(f"word {number}", group=True)
        await deliveries.settle()
        shared.clock.advance(1)
    assert len(events(shared, ModelCalled)) == 4
    assert events(shared, CompactionRequested)
    assert {it.outcome for it in events(shared, CompactionFailed)} == {"blocked"}
    assert len(events(shared, CompactionRequested)) <= 2, "it waits longer after each failure"
    assert {it.kind for it in events(shared, CheckpointCut)} == {"emergency"}
    config = Config(channel=ChannelSettings(history_entries=keep))
    await assert_a_replay_does_not_part(shared, config)
