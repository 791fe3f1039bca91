"""What people hand in is checked, put on the log once, and only then acknowledged."""

import pytest

from schemas.channel import Attachment, CancelRequested, MessageReceived, Person, RetryRequested
from services.errors import LogUnavailable, Rejected
from services.runtime.agents import Agent, Agents, UnknownAgent, define
from services.runtime.bodies import text_of
from services.runtime.intake import LONGEST_BYTES, Intake, InvalidMessage, Receipt
from services.runtime.writer import Writer
from tests.support.builders import ANA, BODY, CONVERSATION
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog


@pytest.fixture
async def intake():
    log = FakeLog()
    writer = Writer(log, FakeClock(), "api")
    await define(writer, Agent("acme", "atlas", "Atlas"))
    return Intake(writer, FakeBodies(), Agents(log))


def stored(intake):
    return intake.writer.log.events[1:]


async def say(intake, text="hello", **fields) -> Receipt:
    return await intake.message(CONVERSATION, author=ANA, text=text, **fields)


async def test_a_message_is_on_the_log_when_it_is_acknowledged(intake):
    receipt = await say(intake, message_id="m1", group=True, private=True)
    (recorded,) = stored(intake)
    assert receipt == Receipt(recorded.envelope.id, recorded.seq)
    assert recorded.subject == "evt.acme.atlas.portal.general.channel._"
    assert recorded.envelope.actor == "person:portal:ana"
    assert recorded.event == MessageReceived(
        message_id="m1", author=ANA, text="hello", group=True, private=True
    )


async def test_the_same_message_again_is_the_same_event(intake):
    first = await say(intake, message_id="m1")
    assert await say(intake, "edited meanwhile", message_id="m1") == first
    assert len(stored(intake)) == 1


async def test_the_same_id_in_another_conversation_is_another_message(intake):
    await say(intake, message_id="m1")
    elsewhere = CONVERSATION._replace(conversation="other")
    await intake.message(elsewhere, author=ANA, text="hello", message_id="m1")
    assert len(stored(intake)) == 2


async def test_messages_without_an_id_are_all_different(intake):
    await say(intake)
    await say(intake)
    assert len({recorded.event.message_id for recorded in stored(intake)}) == 2


async def test_what_no_store_accepts_is_replaced(intake):
    odd = Person(id="portal:\ud800", name="A\x00na")
    await intake.message(
        CONVERSATION, author=odd, text="a\x00b\udc80", message_id="\ud800", group=False
    )
    (recorded,) = stored(intake)
    assert (recorded.event.text, recorded.event.message_id) == ("a\u2400b\ufffd", "\ufffd")
    assert recorded.event.author == Person(id="portal:\ufffd", name="A\u2400na")


async def test_a_long_message_is_kept_by_reference(intake):
    await say(intake, "x" * 2_000_000)
    (recorded,) = stored(intake)
    assert recorded.event.text.bytes == 2_000_000
    assert await text_of(intake.bodies, recorded.event.text) == "x" * 2_000_000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(" \n\t", "empty", id="blank"),
        pytest.param("x" * (LONGEST_BYTES + 1), "send it as a file", id="too long"),
        pytest.param("é" * (LONGEST_BYTES // 2 + 1), "send it as a file", id="too long in bytes"),
    ],
)
async def test_refuses_a_message_that_is(intake, text, complaint):
    with pytest.raises(InvalidMessage, match=complaint):
        await say(intake, text)
    assert stored(intake) == []


async def test_a_file_needs_no_words(intake):
    attachment = Attachment(name="plan.pdf", body=BODY)
    await say(intake, "", attachments=(attachment,))
    assert stored(intake)[0].event.attachments == (attachment,)


async def test_refuses_a_message_for_an_unknown_agent(intake):
    with pytest.raises(UnknownAgent, match="it has: atlas"):
        await intake.message(CONVERSATION._replace(agent="nobody"), author=ANA, text="hello")
    assert stored(intake) == []


@pytest.mark.parametrize("conversation", ["", "x" * 65, "\ud800"])
async def test_refuses_a_conversation_that_cannot_be_named(intake, conversation):
    with pytest.raises(InvalidMessage, match="cannot be named"):
        await intake.message(
            CONVERSATION._replace(conversation=conversation), author=ANA, text="hello"
        )


async def test_refusals_are_the_callers_fault():
    assert issubclass(InvalidMessage, Rejected)


async def test_what_is_not_stored_is_not_acknowledged(intake):
    def away(subject):
        raise LogUnavailable("away")

    intake.writer.log.before_append = away
    with pytest.raises(LogUnavailable):
        await say(intake)


async def test_a_stop_and_a_retry_are_events_of_the_conversation(intake):
    await intake.cancel(CONVERSATION, "w1", by="person:ana", reason="a\x00b" * 1_000)
    await intake.retry(CONVERSATION, "t1", by="person:ana")
    cancelled, retried = stored(intake)
    assert cancelled.event == CancelRequested(run_id="w1", reason=("a\u2400b" * 1_000)[:1_000])
    assert retried.event == RetryRequested(turn_id="t1")
    assert {cancelled.subject, retried.subject} == {str(CONVERSATION)}
    assert cancelled.envelope.actor == "person:ana"
