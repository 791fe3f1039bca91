"""Compactions that were recorded, driven again: what was asked for, what was shown, what came."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from schemas.channel import CheckpointCut, CompactionFailed, CompactionRequested
from schemas.run import ModelCalled, Usage
from services.cli.commands import replay as replay_command
from services.cli.replaying.recording import Recording, of_log
from services.cli.replaying.replay import Replay
from services.cli.replaying.runs import runs_of
from services.compactor import compactions, decider, service, summary
from services.compactor.decider import Limits
from services.errors import ModelRefused, ModelUnavailable
from services.runtime import prompts
from services.runtime.config import ChannelSettings, CompactorSettings, Config, ModelSettings
from tests.support.replicas import Deliveries, Shared
from tests.support.scripted_model import calls, does, says

KEEP = 5  # ten entries are all that there is room for, so eight of them are too many
LIMITS = Limits(window_tokens=128_000, keep=KEEP, rollup_at=3, rollup_of=2)
CONFIG = Config(
    channel=ChannelSettings(history_entries=KEEP),
    compactor=CompactorSettings(rollup_at=3, rollup_of=2),
)


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


def brain(request):
    if request.kind == "compaction":
        shown = request.messages[-1].content
        return says(f"TITLE: {shown.count('[Ana]')} words\nThey said {len(shown)} letters.")
    said = [m.content for m in request.messages if m.content.startswith("[Ana]")]
    return does(calls("reply", text=f"Yes, {said[-1]}"))


def failing(with_):
    def answer(request):
        return with_ if request.kind == "compaction" else brain(request)

    return answer


async def talked(
    place: Path, turns=16, *, brain=brain, hook=None, limits=LIMITS, keep=KEEP, letters=0
):
    settings = ChannelSettings(history_entries=keep)
    shared = Shared(brain, place=place, settings=settings, limits=limits)
    await shared.define()
    if hook is not None:
        shared.hook = hook
    deliveries = Deliveries(shared)
    for number in range(turns):
        await shared.say(f"word {number}" + "x" * letters)
        await deliveries.settle()
        shared.clock.advance(1)
    return shared


async def replayed(shared, config=CONFIG, **options):
    recording = Recording(shared.log.events, shared.bodies)
    return await Replay(recording, config, **options).all(runs_of(recording))


def of(found, *kinds):
    return [run for run in found if run.kind in kinds]


def parted(found):
    return [run.divergence for run in found if run.divergence is not None]


def first(shared, kind):
    return next(each for each in shared.log.events if isinstance(each.event, kind))


async def test_compactions_are_decided_and_summarised_again(tmp_path):
    shared = await talked(tmp_path)
    before, asked = len(shared.log.events), len(shared.model.requests)
    found = await replayed(shared)
    assert [(run.divergence, run.problem) for run in found] == [(None, "")] * len(found)
    cuts = [each for each in shared.log.events if isinstance(each.event, CheckpointCut)]
    assert {each.event.kind for each in cuts} == {"interval", "rollup"}
    # asked for, begun, called, returned, ended, swapped in
    assert [run.steps for run in of(found, "compaction")] == [6] * len(cuts)
    assert len(shared.log.events) == before
    assert len(shared.model.requests) == asked


async def test_what_is_left_out_in_an_emergency_is_decided_again(tmp_path):
    shared = await talked(tmp_path, 6, brain=failing(ModelUnavailable("busy")))
    found = await replayed(shared)
    assert [(run.divergence, run.problem) for run in found] == [(None, "")] * len(found)
    assert [run.steps for run in of(found, "checkpoint")] == [1]
    assert isinstance(first(shared, CompactionFailed).event, CompactionFailed)
    assert of(found, "compaction")


@pytest.mark.parametrize("answer", [ModelRefused("no such model"), says("")])
async def test_compactions_that_fail_fail_again(tmp_path, answer):
    shared = await talked(tmp_path, 4, brain=failing(answer))
    (run,) = of(await replayed(shared), "compaction")
    assert (run.divergence, run.problem) == (None, "")
    assert run.steps >= 6


async def test_what_a_provider_counted_decides_again(tmp_path):
    def counting(request):
        answer = brain(request)
        if request.kind == "compaction":
            return answer
        return answer.__class__(
            answer.model, answer.text, answer.tool_calls, Usage(input=16_500), answer.finish, 1
        )

    limits = Limits(window_tokens=20_000, keep=100)
    shared = await talked(tmp_path, 5, brain=counting, limits=limits, keep=100, letters=2_000)
    config = Config(
        channel=ChannelSettings(history_entries=100),
        models=ModelSettings(context_window_tokens=20_000),
    )
    found = await replayed(shared, config)
    assert first(shared, CompactionRequested).event.kind == "pressure"
    assert parted(found) == []
    assert of(found, "compaction")


# -- broken on purpose ------------------------------------------------------------------------


async def test_a_compactor_that_asks_for_another_part_is_found_at_its_request(
    tmp_path, monkeypatch
):
    shared = await talked(tmp_path, 4)
    monkeypatch.setattr(decider, "BACKGROUND_SHARE", 0.1)
    monkeypatch.setattr(decider, "LARGER_SHARE", 0.1)
    (divergence,) = parted(await replayed(shared))
    assert (divergence.step, divergence.seq) == (1, first(shared, CompactionRequested).seq)
    assert divergence.then.startswith("compaction_requested")
    assert divergence.now.startswith("compaction_requested")
    assert [line.partition(":")[0] for line in divergence.detail] == ["until"]


async def test_a_compactor_that_does_not_ask_any_more_is_found(tmp_path, monkeypatch):
    shared = await talked(tmp_path, 4)
    monkeypatch.setattr(service, "decide", lambda *_, **__: None)
    (divergence,) = parted(await replayed(shared))
    assert divergence.seq == first(shared, CompactionRequested).seq
    assert divergence.now == "nothing"


async def test_settings_that_make_it_leave_out_what_it_summarised_are_found(tmp_path):
    shared = await talked(tmp_path, 4)
    config = replace(CONFIG, compactor=replace(CONFIG.compactor, emergency_at=0.5))
    (divergence,) = parted(await replayed(shared, config))
    assert divergence.detail == ("type: 'compaction_requested' → 'checkpoint_cut'",)


async def test_another_transcript_is_found_at_the_call_by_the_hash_of_its_request(
    tmp_path, monkeypatch
):
    shared = await talked(tmp_path, 4)
    monkeypatch.setattr(summary, "moment", lambda at: "then")
    (divergence,) = parted(await replayed(shared))
    called = next(
        each
        for each in shared.log.events
        if isinstance(each.event, ModelCalled) and "compaction" in each.subject
    )
    assert (divergence.step, divergence.seq) == (3, called.seq)
    assert divergence.detail[0].startswith("request: the messages differ")
    assert parted(await replayed(shared, decisions_only=True)) == []


async def test_a_bug_of_today_is_a_difference_of_the_run_that_meets_it(tmp_path, monkeypatch):
    shared = await talked(tmp_path, 4)

    def failing(*_, **__):
        raise ZeroDivisionError("no entries")

    monkeypatch.setattr(service, "decide", failing)
    found = await replayed(shared)
    (divergence,) = parted(found)
    assert divergence.seq == first(shared, CompactionRequested).seq
    assert divergence.now == "an error: ZeroDivisionError: no entries"
    assert len(of(found, "turn")) == 4


async def test_a_compaction_is_replayed_alone_with_the_conversation_that_it_is_of(tmp_path):
    shared = await talked(tmp_path, 6, brain=failing(ModelUnavailable("busy")))
    for kind in (CompactionRequested, CheckpointCut):
        event = first(shared, kind)
        id_ = getattr(event.event, "run_id", None) or event.envelope.id
        reads = await replay_command._reads(shared.log, "acme", id_)
        alone = await of_log(reads, shared.bodies)
        (run,) = [run for run in runs_of(alone) if run.run_id == id_]
        found = await Replay(alone, CONFIG).one(run)
        assert (found.divergence, found.problem) == (None, "")
        assert found.steps


async def test_another_prompt_of_the_summariser_is_shown_line_by_line(tmp_path, monkeypatch):
    shared = await talked(tmp_path, 4)
    load = prompts.load

    def worded(package, *names):
        text = load(package, *names)
        return f"{text}\nBe brief." if package == "services.compactor" else text

    monkeypatch.setattr(prompts, "load", worded)
    (divergence,) = parted(await replayed(shared))
    assert "+Be brief." in divergence.detail


async def test_a_summary_that_is_read_otherwise_is_found_where_it_is_swapped_in(
    tmp_path, monkeypatch
):
    shared = await talked(tmp_path, 4)
    monkeypatch.setattr(summary, "read", lambda text: ("Another title", text))
    (divergence,) = parted(await replayed(shared))
    assert divergence.seq == first(shared, CheckpointCut).seq
    assert any(line.startswith("title:") for line in divergence.detail)


async def test_a_summary_that_is_not_swapped_in_any_more_is_found(tmp_path, monkeypatch):
    shared = await talked(tmp_path, 4)
    monkeypatch.setattr(compactions, "can_cut", lambda *_: False)
    (divergence,) = parted(await replayed(shared))
    assert divergence.seq == first(shared, CheckpointCut).seq
    assert divergence.now.startswith("compaction_failed")


async def test_a_compaction_of_which_nothing_is_told_any_more_is_found(tmp_path, monkeypatch):
    shared = await talked(tmp_path, 4)

    async def silent(self, request, journal):
        pass

    monkeypatch.setattr(compactions.Compactions, "_tell", silent)
    (divergence,) = parted(await replayed(shared))
    assert divergence.seq == first(shared, CheckpointCut).seq
    assert divergence.now == "nothing"


# -- whatever was recorded --------------------------------------------------------------------


async def test_compactions_of_processes_that_died_at_any_point_are_driven_again(tmp_path):
    whole = await talked(tmp_path / "whole", 5)
    ours = ("compaction", "checkpoint")
    places = [
        place
        for place, point in enumerate(whole.points)
        if point.what.startswith(ours) or ".compaction." in point.subject or point.what == "model"
    ]
    for place in places:
        left = [place]

        async def hook(replica, point, left=left):
            left[0] -= 1
            if left[0] == -1:
                replica.kill()

        shared = await talked(tmp_path / str(place), 5, hook=hook)
        found = await replayed(shared)
        assert parted(found) == [], whole.points[place]
        assert not [run.problem for run in found if run.problem]


async def test_a_recording_that_ends_in_the_middle_of_a_compaction_is_no_divergence(tmp_path):
    shared = await talked(tmp_path, 5)
    for length in range(first(shared, CompactionRequested).seq, len(shared.log.events)):
        recording = Recording(shared.log.events[:length], shared.bodies)
        found = await Replay(recording, CONFIG).all(runs_of(recording))
        assert parted(found) == [], length


async def test_what_is_said_while_it_is_summarised_comes_where_it_came(tmp_path):
    places = []

    async def hook(replica, point):
        if ".compaction." in point.subject and (point.what, point.when) == (
            "model_returned",
            "after",
        ):
            await replica.shared.say(f"meanwhile {len(places)}")
            places.append(replica.shared.log.events[-1].seq)

    shared = await talked(tmp_path, 5, hook=hook)
    assert places
    assert places[0] < first(shared, CheckpointCut).seq
    assert parted(await replayed(shared)) == []
