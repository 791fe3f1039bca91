"""What a model was shown is the beginning of what it is shown next, byte for byte.

Providers cache prompts by their beginning, so every byte that changes is paid for again.
"""

from itertools import pairwise
from random import Random

import msgspec
import pytest

from services.runtime import prompts
from services.runtime.config import ChannelSettings
from tests.support.builders import BEN
from tests.support.replicas import Deliveries, Replica, Shared
from tests.support.scripted_model import calls, does, says


class Moods:
    """A model that does something else each time, and the same for the same request."""

    def __call__(self, request):
        own = sum(message.role == "assistant" for message in request.messages)
        if request.kind == "branch":
            return says(f"Known, {own}.")
        if request.kind == "worker":
            return does(
                calls("set_status", kind="outcome", outcome="partial", status=f"Did {own}.")
            )
        if not request.messages[-1].content.startswith("[status]"):
            return says(f"And so on, {own}.")
        chance = Random(len(request.messages))  # noqa: S311 - not for secrets
        return chance.choice(
            [
                does(calls("reply", text=f"Answer, {own}.")),
                says(f"Words, {own}."),
                says("Both.", calls("react", emoji="👍"), calls("skip")),
                does(calls("branch", task=f"think {own}"), calls("reply", text="I look.")),
                does(calls("spawn_worker", task=f"work {own}"), calls("reply", text="I work.")),
                does(calls("branch", task=f"only think {own}")),
                says("A moment.", calls("spawn_worker", task=f"work on {own}")),
                does(calls("skip", reason="not for me")),
            ]
        )


def first_calls(requests):
    """Return the first request of each turn: those that end in their note."""
    return [
        request
        for request in requests
        if request.kind == "turn" and request.messages[-1].content.startswith("[status]")
    ]


async def talk(shared, turns, *, after_each=None) -> None:
    deliveries = Deliveries(shared)
    for number in range(turns):
        author = {"author": BEN, "group": True} if number % 3 else {}
        text = "x" * 20_000 if number % 7 == 6 else "hello"
        content = await shared.bodies.put(text.encode()) if len(text) > 100 else text
        await shared.say(content, message_id=f"m{number}", **author)
        await deliveries.settle()
        shared.clock.advance(60)
        if after_each is not None:
            deliveries.replica = after_each(deliveries.replica)


@pytest.fixture
async def shared(tmp_path):
    shared = Shared(Moods(), place=tmp_path)
    await shared.define()
    return shared


def encoded(messages):
    return [msgspec.json.encode(message) for message in messages]


def without_note(request):
    return encoded(request.messages[:-1])


def check_prefixes(requests):
    for earlier, later in pairwise(requests):
        known = without_note(earlier)
        assert encoded(later.messages)[: len(known)] == known
        assert len(later.messages) > len(earlier.messages)


async def test_a_turns_request_without_its_note_begins_the_next_turns(shared):
    await talk(shared, 25)
    requests = first_calls(shared.model.requests)
    assert len(requests) >= 25
    check_prefixes(requests)


async def test_it_does_so_in_another_process_too(shared):
    await talk(shared, 25, after_each=lambda _: Replica(shared))
    check_prefixes(first_calls(shared.model.requests))


async def test_within_a_turn_the_note_stays_where_it_is(shared):
    await talk(shared, 25)
    turns = [request for request in shared.model.requests if request.kind == "turn"]
    again = [
        (earlier, later)
        for earlier, later in pairwise(turns)
        if not later.messages[-1].content.startswith("[status]")
    ]
    assert again
    for earlier, later in again:
        known = encoded(earlier.messages)
        assert encoded(later.messages)[: len(known)] == known


async def test_prompt_and_tools_are_the_same_bytes_in_every_turn(shared):
    await talk(shared, 10, after_each=lambda _: Replica(shared))
    for kind in ("turn", "branch", "worker"):
        requests = [request for request in shared.model.requests if request.kind == kind]
        assert len(requests) > 1
        assert len({request.messages[0].content for request in requests}) == 1
        assert len({prompts.tools_text(request.tools) for request in requests}) == 1
        assert len({msgspec.json.encode(request.tools) for request in requests}) == 1


async def test_time_and_what_is_going_on_are_in_the_note_alone(shared):
    await talk(shared, 10)
    for request in first_calls(shared.model.requests):
        assert "UTC" not in "".join(message.content for message in request.messages[:-1])
        assert " UTC." in request.messages[-1].content


async def test_a_long_history_changes_its_beginning_seldom(tmp_path):
    settings = ChannelSettings(history_entries=20)
    shared = Shared(Moods(), place=tmp_path, settings=settings)
    await shared.define()
    await talk(shared, 60)
    requests = first_calls(shared.model.requests)
    firsts = [without_note(request)[1] for request in requests]
    changes = sum(one != other for one, other in pairwise(firsts))
    entries = sum(len(request.messages) for request in requests[-1:])
    assert entries <= 2 * 20 + 2
    assert 3 <= changes <= 60 * 5 // 20
