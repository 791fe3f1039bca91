"""A derived event is on the log once, however often and wherever it is tried."""

import asyncio

import pytest

from schemas.base import EventId, RunId
from schemas.envelope import encode
from services.errors import LogUnavailable
from services.runtime.recording import record
from services.runtime.writer import Writer
from tests.support.builders import START, message, reply
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

SUBJECT = "evt.acme.atlas.portal.general.channel._"


@pytest.fixture
def log():
    return FakeLog()


@pytest.fixture
def writer(log):
    return Writer(log, FakeClock(), "channel")


def test_an_envelope_is_of_now_and_in_the_name_of_its_writer(writer):
    envelope = writer.seal(reply(), cause=EventId("e1"), turn=RunId("t1"), traceparent="00-1-2-03")
    assert (envelope.at, envelope.actor, envelope.type) == (START, "channel", "reply_sent")
    assert (envelope.cause, envelope.turn, envelope.v) == ("e1", "t1", 1)
    assert envelope.traceparent == "00-1-2-03"


def test_ids_are_new_unless_given_and_so_is_the_actor(writer):
    assert writer.seal(reply()).id != writer.seal(reply()).id
    envelope = writer.seal(reply(), id=EventId("mine"), actor="person:ana")
    assert (envelope.id, envelope.actor) == ("mine", "person:ana")


async def test_an_event_is_appended_behind_whatever_is_there(log, writer):
    await log.append(SUBJECT, writer.seal(message()))
    assert await writer.append_once(SUBJECT, writer.seal(reply()), since=0) == 2
    assert await writer.append_once(SUBJECT, writer.seal(reply()), since=2) == 3


async def test_an_event_that_is_there_is_not_appended_again(log, writer):
    envelope = writer.seal(reply(), id=EventId("derived"))
    first = await writer.append_once(SUBJECT, envelope, since=0)
    await log.append(SUBJECT, writer.seal(message()))
    log._ids.clear()  # long after the log has forgotten the id
    assert await writer.append_once(SUBJECT, envelope, since=0) == first
    assert len(log.events) == 2


async def test_an_event_of_two_writers_at_once_is_there_once(log, writer):
    envelope = writer.seal(reply(), id=EventId("derived"))
    seqs = await asyncio.gather(*(writer.append_once(SUBJECT, envelope, since=0) for _ in range(8)))
    assert seqs == [1] * 8
    assert len(log.events) == 1


async def test_a_conflict_is_looked_into_and_the_event_tried_again(log, writer):
    crowd = iter(range(3))

    def before(subject):
        for number in crowd:
            faster = encode(writer.seal(message(message_id=f"m{number}")))
            log.events.append(record(len(log.events) + 1, SUBJECT, faster))
            break

    log.before_append = before
    assert await writer.append_once(SUBJECT, writer.seal(reply()), since=0) == 4


async def test_an_absent_log_is_the_callers_to_deal_with(log, writer):
    def away(subject):
        raise LogUnavailable("away")

    log.before_append = away
    with pytest.raises(LogUnavailable):
        await writer.append_once(SUBJECT, writer.seal(reply()), since=0)
