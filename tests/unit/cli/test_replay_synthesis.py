"""Syntheses that were recorded, driven again on the answer of then."""

import pytest
from structlog.testing import capture_logs

from schemas.cortex import KnowledgeSynthesised, SynthesisFailed
from schemas.run import ModelCalled, RunEnded
from services.cli.replaying.recording import Recording
from services.cli.replaying.replay import Replay
from services.cli.replaying.runs import runs_of
from services.cortex import synthesis
from services.errors import ModelRefused, ModelUnavailable
from services.runtime import prompts, run_decider, run_loop
from services.runtime.briefings import subject_of
from services.runtime.config import Config
from services.runtime.run_decider import Finish
from tests.support.builders import SHA
from tests.support.replicas import Deliveries, Killed, Shared
from tests.support.scripted_model import says

SUBJECT = str(subject_of("acme", "atlas", "knowledge"))


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


def request():
    return synthesis.SynthesisRequested(
        run_id="s1", graph=SHA, memories=("m1",), source='- fact: "tea"'
    )


async def recorded(place, *answers, hook=None):
    shared = Shared(lambda request: says("Tea."), place=place)
    shared.model.queued = list(answers)
    await shared.define()
    if hook is not None:
        shared.hook = hook
    await shared.log.append(SUBJECT, shared.outside.seal(request()))
    await Deliveries(shared).settle()
    return shared


async def replayed(shared, **options):
    """Replay what came of the request; why it was asked for, only read models say."""
    recording = Recording(shared.log.events, shared.bodies)
    (run,) = runs_of(recording)
    run.asked = None
    return await Replay(recording, Config(), **options).one(run)


def first(shared, kind):
    return next(each for each in shared.log.events if isinstance(each.event, kind))


@pytest.mark.parametrize(
    "answers",
    [
        [says("Thursday; tea.")],
        [ModelUnavailable("away"), says("Tea.")],
        [ModelRefused("no quota")],
        [says("")],
    ],
)
async def test_what_the_model_said_leads_to_the_same_again(tmp_path, answers):
    shared = await recorded(tmp_path, *answers)
    run = await replayed(shared)
    assert (run.kind, run.divergence, run.problem) == ("synthesis", None, "")
    ours = [each for each in shared.log.events if each.envelope.actor == "cortex"]
    assert run.steps == len(ours)


async def test_another_prompt_is_shown_line_by_line(tmp_path, monkeypatch):
    shared = await recorded(tmp_path)
    load = prompts.load
    monkeypatch.setattr(prompts, "load", lambda *where: load(*where) + "\nBe kind.")
    found = (await replayed(shared)).divergence
    assert (found.step, found.seq) == (2, first(shared, ModelCalled).seq)
    assert "+Be kind." in found.detail
    assert (await replayed(shared, decisions_only=True)).divergence is None


async def test_another_task_is_found_by_the_hash_of_the_request(tmp_path, monkeypatch):
    shared = await recorded(tmp_path)
    monkeypatch.setattr(synthesis, "TASK", "[task] Put it together:")
    found = (await replayed(shared)).divergence
    assert found.seq == first(shared, ModelCalled).seq
    assert found.detail[0].startswith("request: the messages differ")


async def test_a_broken_decider_is_found_at_the_step_that_differs(tmp_path, monkeypatch):
    shared = await recorded(tmp_path)

    def impatient(state, profile, *, now):
        step = run_decider.decide(state, profile, now=now)
        return Finish("partial", "gave up") if isinstance(step, Finish) else step

    monkeypatch.setattr(run_loop, "decide", impatient)
    found = (await replayed(shared)).divergence
    assert found.seq == first(shared, RunEnded).seq
    assert "gave up" in found.now


async def test_a_synthesis_that_is_not_written_down_any_more_is_found(tmp_path, monkeypatch):
    shared = await recorded(tmp_path)

    async def silent(self, asked, event, journal):
        pass

    monkeypatch.setattr(synthesis.Syntheses, "_conclude", silent)
    found = (await replayed(shared)).divergence
    assert (found.seq, found.now) == (first(shared, KnowledgeSynthesised).seq, "nothing")


async def test_one_that_ended_every_owner_is_given_up_again(tmp_path):
    async def die(replica, point):
        if point.what == "model":
            replica.kill()
            raise Killed

    shared = await recorded(tmp_path, hook=die)
    assert first(shared, SynthesisFailed).event.reason == synthesis.GIVEN_UP
    run = await replayed(shared)
    assert (run.divergence, run.problem) == (None, "")
    last = [each for each in shared.log.events if each.envelope.actor == "cortex"]
    assert run.steps == len(last)


async def test_those_of_processes_that_died_at_any_point_are_driven_again(tmp_path):
    whole = await recorded(tmp_path / "whole")
    for place in range(len(whole.points)):
        left = [place]

        async def hook(replica, point, left=left):
            left[0] -= 1
            if left[0] == -1:
                replica.kill()

        shared = await recorded(tmp_path / str(place), hook=hook)
        for length in range(len(shared.log.events), 2, -1):
            recording = Recording(shared.log.events[:length], shared.bodies)
            for run in runs_of(recording):
                run.asked = None
                found = await Replay(recording, Config()).one(run)
                assert (found.divergence, found.problem) == (None, ""), whole.points[place]
