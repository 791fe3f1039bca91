"""What was given up is handled again when a person asks, and given up again if it must be."""

import asyncio

import pytest

from schemas.dead import DeliveryParked, DeliveryRetried
from services.errors import Permanent, Transient
from services.runtime.event_log import Delivery
from services.runtime.retries import Retries
from services.runtime.writer import Writer
from tests.support.builders import CONVERSATION, message
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

SUBJECT = str(CONVERSATION)
DEAD = str(CONVERSATION.of("dead"))


class Handler:
    """Remembers what it was handed; fails as it is told."""

    def __init__(self):
        self.handed = []
        self.failure = None

    async def __call__(self, delivery):
        self.handed.append(delivery)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def log():
    return FakeLog()


@pytest.fixture
def writer(log):
    return Writer(log, FakeClock(), "test")


@pytest.fixture
def handler():
    return Handler()


@pytest.fixture
def retries(handler, writer):
    return Retries("channel", {"channel": handler}, writer, asyncio.Event())


async def asked(log, writer, *, durable="channel", subject=SUBJECT, seq=1):
    """A message that was parked, and a person who wants it handled."""
    if not log.events:
        await log.append(SUBJECT, writer.seal(message("hello")))
    event = DeliveryRetried(durable=durable, subject=subject, seq=seq)
    await log.append(DEAD, writer.seal(event))
    return Delivery(log.events[-1], 1)


async def test_the_parked_event_is_handed_to_its_handler_as_one_that_comes_again(
    log, writer, handler, retries
):
    await retries.handle(await asked(log, writer))
    (delivery,) = handler.handed
    assert delivery.recorded == log.events[0]
    assert delivery.redelivered


async def test_what_another_service_gave_up_is_left_to_it(log, writer, handler, retries):
    await retries.handle(await asked(log, writer, durable="worker"))
    assert handler.handed == []


async def test_what_cannot_be_handled_is_on_the_list_again_once(log, writer, handler, retries):
    handler.failure = Permanent("still no good")
    delivery = await asked(log, writer)
    await retries.handle(delivery)
    await retries.handle(delivery)
    parked = [each.event for each in log.events if isinstance(each.event, DeliveryParked)]
    assert [(event.durable, event.seq, event.reason) for event in parked] == [
        ("channel", 1, "still no good")
    ]


async def test_what_may_work_later_comes_again(log, writer, handler, retries):
    handler.failure = Transient("away")
    with pytest.raises(Transient):
        await retries.handle(await asked(log, writer))


async def test_an_event_that_is_not_there_is_given_up_again(log, writer, handler, retries):
    await retries.handle(await asked(log, writer, seq=99))
    assert handler.handed == []
    assert "not in the log" in log.events[-1].event.reason


async def test_a_retry_that_was_itself_given_up_can_be_retried(log, writer, handler, retries):
    first = await asked(log, writer)
    again = await asked(
        log, writer, durable="channel_retries", subject=DEAD, seq=first.recorded.seq
    )
    await retries.handle(again)
    assert [delivery.recorded.seq for delivery in handler.handed] == [1]


async def test_the_service_hears_of_it_by_itself(log, writer, handler):
    stopping = asyncio.Event()
    heard = asyncio.Event()

    async def handle(delivery):
        await handler(delivery)
        heard.set()

    running = asyncio.create_task(Retries("channel", {"channel": handle}, writer, stopping).run())
    await asked(log, writer)
    await asyncio.wait_for(heard.wait(), 5)
    stopping.set()
    await asyncio.wait_for(running, 5)
