"""Whatever dies at whatever point of a compaction: one checkpoint, paid for once."""

from collections import Counter

import pytest

from schemas.channel import CheckpointCut, CompactionFailed, CompactionRequested
from services.compactor.decider import Limits
from services.errors import ModelRefused
from services.runtime.config import ChannelSettings
from tests.support import crashes
from tests.support.crashes import Scenario, at_every_point, at_pairs_of_points, tell
from tests.support.replicas import Shared
from tests.support.scripted_model import calls, does, says

KEEP = 5  # ten entries are all that there is room for, so eight of them are too many
LIMITS = Limits(window_tokens=128_000, keep=KEEP, rollup_at=3, rollup_of=2)


@pytest.fixture(autouse=True)
def cramped(monkeypatch):
    """Let every conversation be short of room."""

    def shared(brain, **more):
        settings = ChannelSettings(history_entries=KEEP)
        return Shared(brain, settings=settings, limits=LIMITS, **more)

    monkeypatch.setattr(crashes, "Shared", shared)


def brain(request):
    """Answer, and summarise: the same request gets the same."""
    if request.kind == "compaction":
        shown = request.messages[-1].content
        return says(f"TITLE: {shown.count('[Ana]')} words\nThey said {len(shown)} letters.")
    said = [m.content for m in request.messages if m.content.startswith("[Ana]")]
    return does(calls("reply", text=f"Yes, {said[-1]}"))


def refusing(request):
    if request.kind == "compaction":
        return ModelRefused("no such model")
    return brain(request)


def talking(count):
    """Return the plot of a person who says one thing after the other."""

    async def plot(deliveries):
        for number in range(count):
            await deliveries.shared.say(f"word {number}")
            await deliveries.settle()
            deliveries.shared.clock.advance(1)

    return plot


def cuts(told):
    return [r.event for r in told.log.events if isinstance(r.event, CheckpointCut)]


def summaries(told):
    found = cuts(told)
    return [(cut.kind, cut.level, cut.entries, cut.title, cut.summary) for cut in found]


def check_chronicle(told):
    """Make sure that checkpoints are contiguous, and that each request has one end."""
    end = None
    for cut in cuts(told):
        if not cut.sources:
            assert cut.after == end
            end = cut.until
    asked = [r.event.run_id for r in told.log.events if isinstance(r.event, CompactionRequested)]
    ended = Counter(
        r.event.run_id
        for r in told.log.events
        if isinstance(r.event, CheckpointCut | CompactionFailed) and r.event.run_id
    )
    assert ended == Counter(asked)


async def test_a_crash_at_any_point_of_a_compaction_changes_nothing(tmp_path):
    points = await at_every_point(Scenario(brain, talking(5)), tmp_path, also=summaries)
    assert points >= 40
    told = await tell(Scenario(brain, talking(5)), tmp_path)
    assert [cut.kind for cut in cuts(told)] == ["interval"]
    check_chronicle(told)


async def test_two_crashes_at_any_points_of_compactions_and_rollups_change_nothing(tmp_path):
    story = Scenario(brain, talking(14))
    told = await tell(story, tmp_path)
    assert {cut.kind for cut in cuts(told)} == {"interval", "rollup"}
    check_chronicle(told)
    await at_pairs_of_points(story, tmp_path, pairs=25)


async def test_a_crash_at_any_point_of_a_compaction_that_fails_leaves_all_as_it_was(tmp_path):
    story = Scenario(refusing, talking(4))
    assert await at_every_point(story, tmp_path, also=summaries) >= 30
    told = await tell(story, tmp_path)
    check_chronicle(told)
    assert cuts(told) == []
    (failed,) = [r.event for r in told.log.events if isinstance(r.event, CompactionFailed)]
    assert failed.outcome == "failed"
    assert "no such model" in failed.reason
