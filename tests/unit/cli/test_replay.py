"""What was recorded, driven again by today's code: the same, or the first step that differs."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.run import ModelCalled
from schemas.schedule import OccurrenceFired
from services.channel import tools as channel_tools
from services.channel.turn import Turn
from services.cli.commands import replay as replay_command
from services.cli.replaying import telling
from services.cli.replaying.recording import Recording, of_file, of_log
from services.cli.replaying.replay import Replay
from services.cli.replaying.runs import runs_of
from services.projector.exporting import export
from services.runtime import conversations, prompts, run_decider, run_loop
from services.runtime.agents import Agents
from services.runtime.bodies import text_of
from services.runtime.config import Config
from services.runtime.event_log import EVERYTHING
from services.runtime.forking import Fork, Forking
from services.runtime.run_decider import CallModel, Finish
from services.runtime.telemetry.context import ROOTS
from tests.support.builders import BEN, CONVERSATION
from tests.support.jobs import JOB, minutely
from tests.support.replicas import Deliveries, Shared
from tests.support.scripted_model import by_prompt, calls, does, says
from tests.support.traced import spans_of


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


BUILD = by_prompt(
    {
        "[Ana] build": [does(calls("spawn_worker", task="make it"), calls("reply", text="On it."))],
        "[task] make it": [
            does(calls("shell", command="make")),
            does(
                calls("file_write", path="notes.txt", content="made"),
                calls("set_status", status="half way"),
            ),
            does(calls("set_status", kind="outcome", outcome="succeeded", status="It is made.")),
        ],
        "[result of worker": [does(calls("reply", text="Made."))],
        "[Ana] think": [does(calls("branch", task="think it over"), calls("skip"))],
        "[task] think it over": [does(calls("memory_recall", query="x")), says("I thought.")],
        "[result of branch": [says("Thought.")],
        "[Ana] file": [does(calls("send_file", path="notes.txt")), does(calls("react", emoji="x"))],
    }
)


async def recorded(place: Path, *said: str, brain=BUILD, hook=None) -> Shared:
    shared = Shared(brain, place=place)
    await shared.define()
    if hook is not None:
        shared.hook = hook
    deliveries = Deliveries(shared)
    for text in said:
        await shared.say(text)
        await deliveries.settle()
    return shared


async def replayed(shared: Shared, **options):
    recording = Recording(shared.log.events, shared.bodies)
    return await Replay(recording, Config(), **options).all(runs_of(recording))


def parted(found):
    return [run.divergence for run in found if run.divergence is not None]


async def test_what_was_decided_then_is_decided_again(tmp_path):
    shared = await recorded(tmp_path, "build", "think", "file")
    before, asked = len(shared.log.events), len(shared.model.requests)
    found = await replayed(shared)
    assert [(run.divergence, run.problem) for run in found] == [(None, "")] * len(found)
    kinds = sorted(run.kind for run in found)
    assert kinds == ["branch", "turn", "turn", "turn", "turn", "turn", "worker"]
    assert all(run.steps for run in found)
    assert len(shared.log.events) == before
    assert len(shared.model.requests) == asked
    assert shared.sandbox.commands == ["make"]


async def test_runs_of_jobs_and_what_was_scheduled_are_decided_again(tmp_path):
    brew = {"action": "create", "job": "tea", "every": "1h", "prompt": "brew tea"}
    brain = by_prompt(
        {
            "[Ana] tea": [
                does(calls("schedule", **brew)),
                does(calls("reply", text="Every hour.")),
            ],
            "[job digest]": [says("", calls("branch", task="think")), says("I wait.")],
            "[task] think": [says("It is 42.")],
            "[result of branch": [does(calls("set_outcome", text="42, as it turns out."))],
        }
    )
    shared = await recorded(tmp_path, "tea", brain=brain)
    for event in (minutely(overlap="allow"), OccurrenceFired(due_at=1), OccurrenceFired(due_at=2)):
        await shared.log.append(str(JOB), shared.outside.seal(event))
    await Deliveries(shared).settle()
    assert sum(r.envelope.type == "job_defined" for r in shared.log.events) == 2
    found = await replayed(shared)
    assert [(run.divergence, run.problem) for run in found] == [(None, "")] * len(found)
    kinds = sorted(run.kind for run in found)
    assert kinds == ["branch", "branch", "turn", "turn", "turn", "turn", "turn"]


async def test_every_step_of_a_run_is_compared(tmp_path):
    shared = await recorded(tmp_path, "build")
    (worker,) = [run for run in await replayed(shared) if run.kind == "worker"]
    steps = [
        each
        for each in shared.log.events
        if getattr(each.event, "run_id", "") == worker.run_id and each.envelope.actor == "worker"
    ]
    assert worker.steps == len(steps)


async def test_a_broken_decider_is_found_at_the_first_step_that_differs(tmp_path, monkeypatch):
    shared = await recorded(tmp_path, "build")

    def impatient(state, profile, *, now):
        step = run_decider.decide(state, profile, now=now)
        is_second = isinstance(step, CallModel) and profile.kind == "worker" and step.step == 2
        return Finish("partial", "gave up") if is_second else step

    monkeypatch.setattr(run_loop, "decide", impatient)
    (divergence,) = parted(await replayed(shared))
    second = [
        each
        for each in shared.log.events
        if isinstance(each.event, ModelCalled) and "worker" in each.subject
    ][1]
    assert divergence.seq == second.seq
    assert divergence.then.startswith("model_called")
    assert divergence.now.startswith("run_ended")
    assert "gave up" in divergence.now


async def test_a_turn_that_says_something_else_is_found(tmp_path, monkeypatch):
    shared = await recorded(tmp_path, "think")
    monkeypatch.setattr(channel_tools, "clean", lambda text: text.upper())
    (divergence,) = parted(await replayed(shared))
    assert "think it over" in divergence.then
    assert "THINK IT OVER" in divergence.now


async def test_a_turn_that_leaves_an_effect_out_is_found(tmp_path, monkeypatch):
    shared = await recorded(tmp_path, "build")

    async def silent(turn, event, key):
        return key

    monkeypatch.setattr(Turn, "effect", silent)
    first = parted(await replayed(shared))[0]
    assert first.then.startswith("worker_requested")
    assert first.now.startswith("turn_completed")


async def test_another_system_prompt_is_shown_line_by_line_unless_decisions_alone_count(
    tmp_path, monkeypatch
):
    shared = await recorded(tmp_path, "build")
    load = prompts.load
    monkeypatch.setattr(prompts, "load", lambda *where: load(*where) + "\nBe kind.")
    found = parted(await replayed(shared))
    assert len(found) == 3
    assert all("+Be kind." in divergence.detail for divergence in found)
    assert parted(await replayed(shared, decisions_only=True)) == []


async def test_another_rendering_of_the_history_is_found(tmp_path, monkeypatch):
    shared = await recorded(tmp_path, "build")

    async def louder(content, bodies):
        return (await text_of(bodies, content)).upper()

    monkeypatch.setattr(conversations, "shown", louder)
    first = parted(await replayed(shared))[0]
    assert first.detail[0].startswith("request: the messages differ")


async def test_recordings_of_processes_that_died_at_any_point_are_driven_again(tmp_path):
    whole = await recorded(tmp_path / "whole", "build")
    for place in range(len(whole.points)):
        left = [place]

        async def hook(replica, point, left=left):
            left[0] -= 1
            if left[0] == -1:
                replica.kill()

        shared = await recorded(tmp_path / str(place), "build", hook=hook)
        found = await replayed(shared)
        assert parted(found) == [], whole.points[place]
        assert not [run.problem for run in found if run.problem]


async def test_a_recording_that_ends_in_the_middle_is_no_divergence(tmp_path):
    shared = await recorded(tmp_path, "build")
    for length in range(1, len(shared.log.events)):
        recording = Recording(shared.log.events[:length], shared.bodies)
        found = await Replay(recording, Config()).all(runs_of(recording))
        assert parted(found) == [], length


async def test_what_came_while_a_turn_ran_is_taken_in_where_it_was(tmp_path):
    async def hook(replica, point):
        if point.what == "model" and point.when == "before" and not shared_says:
            shared_says.append(True)
            await replica.shared.say("think", author=BEN)

    shared_says: list[bool] = []
    shared = await recorded(tmp_path, "build", hook=hook)
    assert parted(await replayed(shared)) == []


async def test_an_export_is_replayed_without_any_server(tmp_path):
    shared = await recorded(tmp_path, "build", "think")
    path = tmp_path / "talk.zst"
    await export(shared.log, shared.bodies, EVERYTHING, path)
    recording = await of_file(path)
    found = await Replay(recording, Config()).all(runs_of(recording))
    assert sum(run.steps for run in found) == sum(run.steps for run in await replayed(shared))
    assert parted(found) == []


async def test_a_run_whose_bodies_are_lost_is_no_divergence_but_a_problem(tmp_path):
    brain = by_prompt(
        {
            "[Ana] long": [does(calls("spawn_worker", task="x" * 20_000), calls("skip"))],
            "[task] x": [says("y" * 20_000)],
            "[result of worker": [does(calls("skip"))],
        }
    )
    shared = await recorded(tmp_path, "long", brain=brain)
    assert parted(await replayed(shared)) == []
    shared.bodies.bodies.clear()
    found = await replayed(shared)
    assert [run.problem for run in found if run.problem]


@pytest.fixture
def traced(monkeypatch):
    monkeypatch.setattr(ROOTS, "sampler", lambda trace_id: True)


async def test_a_replay_is_a_trace_of_its_own_that_is_linked_to_the_one_of_then(traced, tmp_path):
    shared = await recorded(tmp_path, "build")
    found = await replayed(shared)
    then = {(it.trace_id, it.span_id): it for it in spans_of(shared.log.events)}
    told = list(telling.replayed(shared.log.events, found, again="a", at=5))
    assert len({it.trace_id for it in told}) == len(found) == 3
    for it in told:
        assert it.attributes["penstock.replay"] is True
        (link,) = it.links
        original = then[link.trace_id, link.span_id]
        assert (it.name, it.seconds) == (original.name, original.seconds)
        assert (it.trace_id, it.span_id) not in then
    roots = [it for it in told if it.parent_id is None]
    assert sorted(it.name for it in roots) == [
        "invoke_agent atlas/worker",
        "invoke_workflow turn",
        "invoke_workflow turn",
    ]
    known = {(it.trace_id, it.span_id) for it in told}
    assert all((it.trace_id, it.parent_id) in known for it in told if it.parent_id is not None)
    assert not any(it.error for it in roots)
    again = telling.replayed(shared.log.events, found, again="b", at=5)
    assert known.isdisjoint((it.trace_id, it.span_id) for it in again)


async def test_a_replay_that_parts_is_told_up_to_there_and_is_an_error(
    traced, monkeypatch, tmp_path
):
    shared = await recorded(tmp_path, "build")
    monkeypatch.setattr(channel_tools, "clean", lambda text: text.upper())
    found = await replayed(shared)
    first = parted(found)[0]
    told = list(telling.replayed(shared.log.events, found, again="a", at=5))
    then = [it for it in spans_of(shared.log.events) if it.attributes.get("penstock.run.id")]
    turns = [it for it in told if it.operation == "invoke_workflow"]
    assert turns[0].error == "diverged"
    assert turns[0].attributes["penstock.replay.diverged"] is True
    assert f"event {first.seq}" in turns[0].detail
    assert "make it" not in turns[0].detail.lower()
    assert len(told) < len(then)


async def forked(place: Path, *said: str) -> Shared:
    """Return a story with a fork at its first message, and a fork of that."""
    shared = await recorded(place, *said)
    service = Forking(shared.outside, shared.bodies, Agents(shared.log))
    first = Fork(at="message 1", name="there", model="scripted/two", prompt="Be a poet.")
    await service.begin(CONVERSATION, first)
    await Deliveries(shared).settle()
    there = CONVERSATION._replace(adapter="fork", conversation="there")
    await service.begin(there, Fork(name="further", message="think"))
    await Deliveries(shared).settle()
    return shared


async def test_the_turns_of_a_fork_are_decided_again_on_what_it_shares(tmp_path):
    shared = await forked(tmp_path, "build", "think")
    found = await replayed(shared)
    assert [(run.divergence, run.problem) for run in found] == [(None, "")] * len(found)
    there = [run for run in found if ".fork." in run.subject]
    assert sorted(run.kind for run in there) == ["branch", "turn", "turn", "turn", "turn", "worker"]


async def test_a_fork_is_replayed_from_a_file_and_alone_with_what_it_shares(tmp_path):
    shared = await forked(tmp_path, "build")
    path = tmp_path / "talk.zst"
    manifest = await export(shared.log, shared.bodies, EVERYTHING, path)
    assert manifest.shares == ()
    recording = await of_file(path)
    found = await Replay(recording, Config()).all(runs_of(recording))
    assert [(run.divergence, run.problem) for run in found] == [(None, "")] * len(found)
    further = next(run for run in found if ".further." in run.subject)
    reads = await replay_command._reads(shared.log, "acme", further.run_id)
    alone = await of_log(reads, shared.bodies)
    runs = [run for run in runs_of(alone) if run.run_id == further.run_id]
    (again,) = await Replay(alone, Config()).all(runs)
    assert (again.divergence, again.problem, again.steps) == (None, "", further.steps)


async def test_a_fork_whose_history_is_not_in_the_file_cannot_be_replayed_and_says_so(tmp_path):
    shared = await forked(tmp_path, "build")
    path = tmp_path / "talk.zst"
    pattern = "evt.acme.atlas.fork.there.>"
    manifest = await export(shared.log, shared.bodies, pattern, path)
    assert manifest.shares == (str(CONVERSATION),)
    events = [it for it in shared.log.events if ".general." not in it.subject]
    recording = Recording(events, shared.bodies)
    found = await Replay(recording, Config()).all(runs_of(recording))
    assert {run.divergence for run in found} == {None}
    assert all("which is not in the log" in run.problem for run in found)
