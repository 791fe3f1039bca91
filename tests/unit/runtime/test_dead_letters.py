"""Whoever asks for something to be tried again asks for it once."""

import asyncio

import pytest

from projections.dead_letters import DeadLetter
from schemas.channel import RetryRequested
from schemas.dead import DeliveryRetried
from services.errors import LogUnavailable, Rejected
from services.runtime.dead_letters import AlreadyAsked, retry
from services.runtime.writer import Writer
from tests.support.builders import CONVERSATION, message
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

TENANT = CONVERSATION.tenant


@pytest.fixture
def writer():
    return Writer(FakeLog(), FakeClock(), "api")


def a_letter(**fields) -> DeadLetter:
    of_a_turn = {
        "ref": "turn:t1",
        "kind": "turn",
        "agent": CONVERSATION.agent,
        "adapter": CONVERSATION.adapter,
        "conversation": CONVERSATION.conversation,
        "turn_id": "t1",
        "durable": None,
        "subject": None,
        "event_seq": None,
        "reason": "no model",
        "attempts": 5,
        "parked_at": 1,
        "retried_at": None,
        "open": True,
        "seq": 0,
    }
    return DeadLetter(**{**of_a_turn, **fields})


def of_a_delivery(**fields) -> DeadLetter:
    known = {"durable": "worker", "subject": str(CONVERSATION), "event_seq": 7}
    return a_letter(ref="delivery:worker:7", kind="delivery", turn_id=None, **{**known, **fields})


async def ask(letter, writer, by="person:portal:ana"):
    return await retry(letter, TENANT, writer, by=by)


async def test_a_turn_is_asked_for_in_its_conversation(writer):
    receipt = await ask(a_letter(), writer)
    (recorded,) = writer.log.events
    assert recorded.event == RetryRequested(turn_id="t1")
    assert recorded.subject == str(CONVERSATION)
    assert recorded.envelope.actor == "person:portal:ana"
    assert (receipt.event_id, receipt.seq) == (recorded.envelope.id, recorded.seq)


async def test_a_delivery_is_asked_for_on_the_dead_letter_list(writer):
    await ask(of_a_delivery(), writer)
    (recorded,) = writer.log.events
    assert recorded.event == DeliveryRetried(durable="worker", subject=str(CONVERSATION), seq=7)
    assert recorded.subject == str(CONVERSATION.of("dead"))


@pytest.mark.parametrize("letter", [a_letter(), of_a_delivery()], ids=["turn", "delivery"])
async def test_whoever_asks_and_however_often_it_is_asked_for_once(writer, letter):
    receipts = await asyncio.gather(*(ask(letter, writer, by=f"person:{n}") for n in range(5)))
    writer.log._ids.clear()  # also after the log has forgotten its ids
    receipts.append(await ask(letter, writer))
    assert len(writer.log.events) == 1
    assert len(set(receipts)) == 1


async def test_what_fails_again_can_be_asked_for_again(writer):
    first = await ask(a_letter(), writer)
    await writer.log.append(str(CONVERSATION), writer.seal(message("meanwhile")))
    again = await ask(a_letter(seq=2), writer)
    assert (first.seq, again.seq) == (1, 3)


async def test_what_is_being_tried_is_not_tried_beside_it(writer):
    with pytest.raises(AlreadyAsked, match="turn:t1 is being tried again already"):
        await ask(a_letter(open=False), writer)
    assert writer.log.events == []


async def test_what_is_not_stored_is_not_acknowledged(writer):
    def away(subject):
        raise LogUnavailable("away")

    writer.log.before_append = away
    with pytest.raises(LogUnavailable):
        await ask(a_letter(), writer)


async def test_a_delivery_that_is_half_known_is_refused(writer):
    with pytest.raises(Rejected, match="rebuild dead_letters"):
        await ask(of_a_delivery(event_seq=None), writer)
