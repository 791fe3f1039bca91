"""Tell a story again and again, with a crash at every single point of it, and compare."""

import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    WorkerConcluded,
    WorkerRequested,
)
from schemas.run import ModelFailed, ModelReturned, RunEnded, ToolReturned
from schemas.subjects import matches, matching
from services.runtime.budgets.budget import Budget
from services.runtime.event_log import Delivery
from tests.support.builders import CONVERSATION
from tests.support.replicas import Deliveries, Hook, Killed, Point, Replica, Shared
from tests.support.scripted_model import Brain

CHANNEL = matching(entity="channel")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

Plot = Callable[[Deliveries], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """People who talk, and a model that answers."""

    brain: Brain
    plot: Plot
    budgets: tuple[Budget, ...] = ()


def saying(*texts: str) -> Plot:
    """Return the plot of a person who says one thing after the other, each when all is at rest."""

    async def plot(deliveries: Deliveries) -> None:
        for text in texts:
            await deliveries.shared.say(text)
            await deliveries.settle()

    return plot


async def tell(scenario: Scenario, place: Path, hook: Hook | None = None) -> Shared:
    """Tell the story once, to its end."""
    shared = Shared(scenario.brain, place=place, budgets=scenario.budgets)
    await shared.define()
    if hook is not None:
        shared.hook = hook
    await scenario.plot(Deliveries(shared))
    return shared


def killing(*numbers: int) -> Hook:
    """Return a hook that kills whoever comes to the points of these numbers, counted from 0."""

    async def hook(replica, point) -> None:
        if len(replica.shared.points) - 1 in numbers:
            replica.kill()
            raise Killed

    return hook


async def at_every_point(
    scenario: Scenario, place: Path, *, also: Callable[[Shared], object] = lambda _: None
) -> int:
    """Crash at every point of a story, and make sure that it is the same story; return how many.

    Args:
        scenario: The story.
        place: A directory.
        also: What else, besides what happened in the conversation, must be the same.
    """
    undisturbed = await tell(scenario, place / "undisturbed")
    expected = (channel_story(undisturbed), also(undisturbed))
    for number, point in enumerate(undisturbed.points):
        told = await tell(scenario, place / str(number), killing(number))
        where = f"a crash at {number}: {point.when} {point.what}"
        assert (told.points[number].when, told.points[number].what) == (point.when, point.what)
        assert (channel_story(told), also(told)) == expected, where
        check(told, crashes=[point], where=where)
    return len(undisturbed.points)


async def at_pairs_of_points(scenario: Scenario, place: Path, *, pairs: int) -> None:
    """Crash at two points of a story, some pairs of all that there are."""
    undisturbed = await tell(scenario, place / "undisturbed")
    chance = random.Random(0)  # noqa: S311 - the same pairs at every run
    for _ in range(pairs):
        first = chance.randrange(len(undisturbed.points))
        second = first + 1 + chance.randrange(12)  # soon: in the middle of the recovery
        told = await tell(scenario, place / f"{first}-{second}", killing(first, second))
        points = [told.points[n] for n in (first, second) if n < len(told.points)]
        where = f"crashes at {first} and {second}: {points}"
        assert channel_story(told) == channel_story(undisturbed), where
        check(told, crashes=points, where=where)


async def stopped_at_every_point(scenario: Scenario, place: Path, kind: str) -> set[str]:
    """Have the first run of a kind stopped at every point of a story; return the outcomes."""
    undisturbed = await tell(scenario, place / "undisturbed")
    outcomes = set()
    for number, point in enumerate(undisturbed.points):
        told = await tell(scenario, place / str(number), stopping(number, kind))
        where = f"a stop at {number}: {point.when} {point.what}"
        check(told, crashes=[], where=where, asked_in_vain=1)
        story = [recorded.event for recorded in told.log.events]
        asked = {e.run_id for e in story if isinstance(e, BranchRequested | WorkerRequested)}
        ended = Counter(e.run_id for e in story if isinstance(e, RunEnded))
        concluded = Counter(
            e.run_id for e in story if isinstance(e, BranchConcluded | WorkerConcluded)
        )
        assert ended == concluded == Counter(asked), where
        stops = [e.run_id for e in story if isinstance(e, CancelRequested)]
        outcomes |= {e.outcome for e in story if isinstance(e, RunEnded) and e.run_id in stops}
    return outcomes


def stopping(number: int, kind: str) -> Hook:
    """Return a hook by which, at a point, somebody stops the run of a kind that is active then."""

    async def hook(replica, point) -> None:
        shared = replica.shared
        if len(shared.points) - 1 != number:
            return
        state = await replica.conversations.newest(CONVERSATION)
        active = [run.run_id for run in state.runs if run.kind == kind]
        if kind == "persistence" and state.unsaved.branch is not None:
            active = [state.unsaved.branch.run_id]
        if not active:
            return
        envelope = shared.outside.seal(CancelRequested(run_id=active[0], reason="enough"))
        seq = await shared.log.append(str(CONVERSATION), envelope)
        other = Replica(shared)
        handle = other.workers.handle_cancel if kind == "worker" else other.branches.handle_cancel
        await handle(Delivery(shared.log.events[seq - 1], 1))

    return hook


def check(told: Shared, *, crashes: list[Point], where: str, asked_in_vain: int = 0) -> None:
    """Make sure of what must hold whatever crashed.

    Args:
        told: What was told.
        crashes: Where.
        where: The same, for messages.
        asked_in_vain: Model calls that may have been given up besides those lost in a crash.
    """
    ends = Counter(r.event.run_id for r in told.log.events if isinstance(r.event, RunEnded))
    assert {*ends.values()} <= {1}, f"{where}: {ends}"
    lost = sum((p.when, p.what) in LOSES_AN_ANSWER for p in crashes) + asked_in_vain
    recorded = sum(isinstance(r.event, ModelReturned | ModelFailed) for r in told.log.events)
    asked = len(told.model.requests)
    assert recorded <= asked <= recorded + lost, f"{where}: {asked} asked, {recorded} recorded"
    answers = Counter(
        (r.event.run_id, r.event.step)
        for r in told.log.events
        if isinstance(r.event, ModelReturned)
    )
    assert {*answers.values()} <= {1}, f"{where}: {answers}"
    results = Counter(
        (r.event.run_id, r.event.call_id)
        for r in told.log.events
        if isinstance(r.event, ToolReturned)
    )
    assert {*results.values()} <= {1}, f"{where}: {results}"
    commands = Counter(told.sandbox.commands)
    assert {*commands.values()} <= {1}, f"{where}: {commands}"


LOSES_AN_ANSWER = {("after", "model"), ("before", "model_returned"), ("before", "model_failed")}


def channel_story(told: Shared) -> list[str]:
    """Return what happened in the conversation, without what differs from telling to telling."""
    lines, numbers = [], {}

    def numbered(found: re.Match[str]) -> str:
        return f"#{numbers.setdefault(found.group(), len(numbers))}"

    for recorded in told.log.events:
        if not matches(CHANNEL, recorded.subject) or recorded.envelope.type == "turn_resumed":
            continue
        data = msgspec.json.decode(recorded.envelope.data)
        data.pop("owner", None)
        ids = re.sub(ID, numbered, msgspec.json.encode(data).decode())
        lines.append(ids)
    return lines
