"""What a conversation looks like from outside."""

from functools import partial
from typing import get_args

import msgspec
import pytest

from schemas.base import EventId
from schemas.channel import (
    Attachment,
    ChannelEvent,
    ResultDelivered,
    RetryRequested,
    TurnResumed,
    TurnStarted,
)
from services.api.feed import happened, said
from services.api.feed.happened import Shown, name_of
from services.api.feed.settled import is_settled
from services.runtime.conversation import Conversation, evolve
from tests.support.builders import (
    ANA,
    BODY,
    branch,
    branch_concluded,
    cancel,
    checkpoint,
    compaction,
    compaction_failed,
    file_sent,
    forked,
    message,
    reaction,
    reply,
    routed,
    run_started,
    status,
    story,
    turn_completed,
    turn_failed,
    worker,
    worker_concluded,
    worker_reported,
)
from tests.support.fake_log import FakeBodies
from tests.support.spec import Spec

STARTED = TurnStarted(turn_id="t1", owner="one")
RESUMED = TurnResumed(turn_id="t1", owner="two", attempt=2)
HAPPENED = [
    STARTED,
    RESUMED,
    turn_completed("e1", reason="why"),
    turn_failed("e1"),
    RetryRequested(turn_id="t1"),
    branch(),
    branch_concluded(),
    worker(interactive=True),
    worker_reported(),
    worker_concluded(),
    routed(),
    cancel(),
    compaction("e1"),
    checkpoint("e1", run="k1"),
    compaction_failed(),
    forked("e1"),
    run_started(),
    status(),
]
SAID = [message(), reply(), file_sent(), reaction()]
DELIVERED = ResultDelivered(job="digest", occurrence=EventId("o1"), text="three new messages")


def tell(event):
    (recorded,) = story(event)
    return msgspec.to_builtins(happened.of_event(recorded, event))


async def speak(event, bodies=None):
    (recorded,) = story(event)
    return await said.of_event(recorded, event, bodies or FakeBodies())


def test_every_event_of_a_conversation_is_either_said_or_happened():
    shown = {type(event) for event in (*HAPPENED, *SAID, DELIVERED)}
    assert set(get_args(ChannelEvent)) <= shown
    assert {type(event) for event in HAPPENED} == set(get_args(Shown))


def test_each_is_told_under_a_name_of_its_own():
    names = [name_of(event) for event in (*SAID, *HAPPENED)]
    assert names[:4] == ["message", "reply", "file", "reaction"]
    assert len(set(names)) == len(names)


async def test_what_a_job_had_to_say_is_told_as_a_reply():
    told = await speak(DELIVERED)
    assert (name_of(DELIVERED), told.role, told.text) == ("reply", "agent", "three new messages")


@pytest.mark.parametrize("event", HAPPENED, ids=name_of)
def test_what_happened_says_to_what(event):
    told = tell(event)
    assert told["seq"] == 1
    assert told["event_id"] == "e1"
    assert told.get("turn_id") == getattr(event, "turn_id", None)
    assert told.get("run_id") == getattr(event, "run_id", None)


def test_what_happened_says_what_came_of_it():
    assert tell(worker_concluded())["outcome"] == "succeeded"
    assert tell(turn_completed("e1"))["outcome"] == "replied"
    assert tell(turn_failed("e1", reason="no model"))["reason"] == "no model"
    assert tell(RESUMED)["attempt"] == 2
    assert tell(worker(task="build it"))["text"] == "build it"
    assert tell(worker(interactive=True))["interactive"] is True


def test_long_texts_of_what_happened_are_cut_to_a_line():
    assert len(tell(worker(task="line\n" * 10_000))["text"]) <= 300
    assert "\n" not in tell(worker(task="line\n" * 10_000))["text"]
    assert tell(worker(task=BODY))["text"] == "a long text"


async def test_what_is_said_is_said_in_full():
    bodies = FakeBodies()
    ref = await bodies.put(("long " * 10_000).encode())
    assert (await speak(reply(ref), bodies)).text == "long " * 10_000


async def test_a_text_that_is_lost_says_so():
    lost = await speak(reply(BODY))
    assert lost.text.startswith("(this text cannot be read")


async def test_who_said_it_and_what_came_with_it():
    heard = await speak(message(attachments=(Attachment(name="a.txt", body=BODY),)))
    assert (heard.role, heard.author) == ("person", ANA)
    assert [(file.name, file.bytes) for file in heard.attachments] == [("a.txt", BODY.bytes)]
    sent = await speak(file_sent("plan.pdf", caption="here"))
    assert (sent.role, sent.text, sent.file.name) == ("file", "here", "plan.pdf")
    assert (await speak(reaction("👍", to="m1"))).reply_to == "m1"


async def test_nobody_says_anything_in_what_happened():
    channel = [event for event in HAPPENED if isinstance(event, ChannelEvent)]
    assert [await speak(event) for event in channel] == [None] * len(channel)


# -- at rest -----------------------------------------------------------------------------------

settled = Spec(Conversation(), evolve, partial(is_settled, max_retriggers=1)).given
ended = partial(turn_completed, turn="t1")


def test_a_conversation_in_which_nobody_spoke_is_at_rest():
    settled().then(True)


def test_a_message_is_to_be_answered():
    settled(message()).then(False)
    settled(message(), STARTED).then(False)
    settled(message(), STARTED, reply()).then(False)
    settled(message(), STARTED, reply(), ended("e1")).then(True)


def test_a_message_that_came_during_the_turn_is_still_to_be_answered():
    settled(message(), STARTED, message(message_id="m2"), ended("e1")).then(False)


def test_who_works_is_waited_for():
    at_work = settled(message(), STARTED, worker(), ended("e1"))
    at_work.then(False)
    at_work.when(worker_concluded()).then(False)  # the agent has yet to tell
    told = at_work.when(worker_concluded(), STARTED, reply(), ended("e5"))
    told.then(True)


def test_who_waits_for_input_is_not_waited_for():
    waiting = settled(message(), STARTED, worker(interactive=True), ended("e1")).when(
        worker_reported(), STARTED, reply(), ended("e5")
    )
    waiting.then(True)
    waiting.when(routed()).then(False)


def test_results_that_wait_for_the_next_message_are_no_unrest():
    """The agent has taken all the turns that it may take on its own."""
    settled(
        *(message(), STARTED, worker("w1"), worker("w2"), ended("e1")),
        *(worker_concluded("w1"), STARTED, reply(), ended("e6"), worker_concluded("w2")),
    ).then(True)
