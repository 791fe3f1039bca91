"""Whatever dies at whatever point of a branch: it concludes once, what it saved is saved once."""

from schemas.memory import MemoryLinked, MemorySaved, MemoryTouched
from tests.support.crashes import (
    Scenario,
    at_every_point,
    at_pairs_of_points,
    saying,
    stopped_at_every_point,
    tell,
)
from tests.support.scripted_model import by_prompt, calls, does, says

REMEMBER = Scenario(
    by_prompt(
        {
            "[Ana] remember": [does(calls("branch", task="remember the day")), says("I look.")],
            "[task] remember the day": [
                does(calls("memory_save", content="The release day is Thursday.")),
                says("Saved."),
            ],
            "[result of branch": [does(calls("reply", text="I will know."))],
        }
    ),
    saying("remember the day"),
)
CHANGE = Scenario(
    by_prompt(
        {
            "[Ana] remember": [does(calls("branch", task="remember the day")), says("I look.")],
            "[task] remember the day": [
                does(calls("memory_save", content="The release day is Thursday.")),
                does(
                    calls("memory_save", content="the release day is thursday"),
                    calls("memory_save", content="The release day is Friday."),
                    calls("memory_save", content="Thanks!"),
                ),
                says("Saved."),
            ],
            "[result of branch": [does(calls("reply", text="I will know."))],
        }
    ),
    saying("remember the day"),
)
DELEGATE = Scenario(
    by_prompt(
        {
            "[Ana] build it": [does(calls("branch", task="see to it"), calls("skip"))],
            "[task] see to it": [does(calls("spawn_worker", task="build it all"))],
            "[task] build it all": [
                does(calls("set_status", kind="outcome", outcome="succeeded", status="Built."))
            ],
            "[result of worker": [does(calls("reply", text="It is built."))],
            "[worker": [does(calls("reply", text="Stopped too late."))],  # it was under way
            "[result of branch": [does(calls("reply", text="Stopped."))],
        }
    ),
    saying("build it"),
)


def saved(told):
    return [r.event.text for r in told.log.events if isinstance(r.event, MemorySaved)]


async def test_a_crash_at_any_point_of_remembering_changes_nothing(tmp_path):
    assert await at_every_point(REMEMBER, tmp_path, also=saved) >= 30


def memory(told):
    """Return what happened to memory, with numbers for ids."""
    numbers = {}

    def number(id_):
        return numbers.setdefault(id_, len(numbers))

    return [
        (
            recorded.envelope.type,
            number(recorded.event.memory_id),
            [(number(one.memory_id), one.why) for one in getattr(recorded.event, "replaces", ())],
            number(recorded.event.to) if isinstance(recorded.event, MemoryLinked) else None,
        )
        for recorded in told.log.events
        if isinstance(recorded.event, MemorySaved | MemoryTouched | MemoryLinked)
    ]


async def test_a_crash_at_any_point_of_changing_ones_mind_changes_nothing(tmp_path):
    told = await tell(CHANGE, tmp_path)
    assert memory(told) == [
        ("memory_saved", 0, [], None),
        ("memory_touched", 0, [], None),
        ("memory_saved", 1, [(0, "contradiction")], None),
        ("memory_linked", 1, [], 0),
    ]
    assert await at_every_point(CHANGE, tmp_path, also=memory) >= 40


async def test_a_crash_at_any_point_of_delegating_changes_nothing(tmp_path):
    assert await at_every_point(DELEGATE, tmp_path) >= 30


async def test_two_crashes_at_any_points_change_nothing(tmp_path):
    await at_pairs_of_points(REMEMBER, tmp_path, pairs=40)


async def test_a_branch_that_is_stopped_at_any_point_ends_and_concludes_once(tmp_path):
    assert await stopped_at_every_point(REMEMBER, tmp_path, "branch") == {"cancelled", "succeeded"}


async def test_a_delegating_branch_that_is_stopped_at_any_point_ends_once(tmp_path):
    assert await stopped_at_every_point(DELEGATE, tmp_path, "branch") == {"cancelled", "succeeded"}


async def test_what_a_branch_saves_says_where_it_comes_from(tmp_path):
    told = await tell(REMEMBER, tmp_path)
    (memory,) = [r for r in told.log.events if isinstance(r.event, MemorySaved)]
    assert memory.subject == "evt.acme.atlas._._.memory._"
    event = memory.event
    assert (event.kind, event.importance) == ("fact", 0.6)
    assert (event.person, event.conversation) == ("portal:ana", "portal/general")
    assert event.scope == "person"
    by_id = {r.envelope.id: r.event for r in told.log.events}
    assert by_id[event.source].turn_id == memory.envelope.turn
