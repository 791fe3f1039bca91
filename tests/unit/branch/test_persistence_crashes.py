"""Whatever dies at whatever point of a look: it is asked for once, saved once, concluded once."""

from schemas.channel import BranchRequested, TurnCompleted
from schemas.memory import MemorySaved
from schemas.run import ToolReturned
from tests.support.crashes import (
    Scenario,
    at_every_point,
    at_pairs_of_points,
    stopped_at_every_point,
    tell,
)
from tests.support.keeper import keeping


async def plot(deliveries):
    for text in ("I prefer tea", "we decided on Postgres"):
        await deliveries.shared.say(text)
        await deliveries.settle()
    deliveries.shared.clock.advance(1_000)
    await deliveries.look()
    await deliveries.settle()


KEEP = Scenario(
    keeping(
        {"content": "Ana prefers tea.", "message": 1},
        {"content": "Postgres was decided on.", "kind": "decision", "message": 2},
    ),
    plot,
)


def outcome(told):
    """Return what must be the same whatever dies: memories, receipts, turns, requests."""
    events = [recorded.event for recorded in told.log.events]
    receipts = [e for e in events if isinstance(e, ToolReturned) and e.name == "memory_receipt"]
    return (
        [(e.text, e.person, e.kind) for e in events if isinstance(e, MemorySaved)],
        [receipt.status for receipt in receipts],
        sum(isinstance(e, TurnCompleted) for e in events),
        sum(isinstance(e, BranchRequested) for e in events),
    )


async def test_a_crash_at_any_point_changes_nothing(tmp_path):
    assert await at_every_point(KEEP, tmp_path, also=outcome) >= 30
    told = await tell(KEEP, tmp_path / "again")
    memories, receipts, turns, requested = outcome(told)
    assert [text for text, _, _ in memories] == ["Ana prefers tea.", "Postgres was decided on."]
    assert (receipts, turns, requested) == (["ok"], 2, 1)


async def test_two_crashes_at_any_points_change_nothing(tmp_path):
    await at_pairs_of_points(KEEP, tmp_path, pairs=40)


async def test_one_that_is_stopped_at_any_point_ends_and_concludes_once(tmp_path):
    assert await stopped_at_every_point(KEEP, tmp_path, "persistence") == {"cancelled", "succeeded"}
