"""The family of a failure decides what becomes of a delivery, and only here."""

import pytest
import structlog
from structlog.testing import capture_logs

from schemas.base import EventId
from schemas.dead import DeliveryParked
from schemas.envelope import encode, seal
from schemas.subjects import parse
from services.errors import (
    Conflict,
    Fenced,
    HandedBack,
    LogUnavailable,
    ModelRefused,
    Permanent,
    Rejected,
    Transient,
)
from services.runtime.consumer import BUG_ATTEMPTS, RETRY_AFTER_S, Verdict, settle
from services.runtime.event_log import Delivery
from services.runtime.recording import record
from tests.support.builders import START, message
from tests.support.fake_log import FakeLog

SUBJECT = "evt.acme.atlas.portal.general.channel._"
DEAD = "evt.acme.atlas.portal.general.dead._"


def delivery(attempt=1, *, body=None):
    envelope = seal(message(), id=EventId("e1"), at=START, actor="person:ana")
    return Delivery(record(7, SUBJECT, body or encode(envelope)), attempt)


async def verdict(error, *, attempt=1, log=None, body=None):
    async def handle(_):
        if error is not None:
            raise error

    with capture_logs():
        return await settle(log or FakeLog(), "channel", delivery(attempt, body=body), handle)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(None, Verdict("ack"), id="handled"),
        pytest.param(Rejected("no"), Verdict("ack"), id="rejected"),
        pytest.param(Fenced("not ours"), Verdict("drop"), id="fenced"),
        pytest.param(HandedBack("stopping"), Verdict("again"), id="handed back"),
        pytest.param(Transient("not now"), Verdict("again", 0.5), id="transient"),
        pytest.param(Conflict("s", expected=1), Verdict("again", 0.5), id="conflict"),
        pytest.param(LogUnavailable("away"), Verdict("again", 0.5), id="no log"),
        pytest.param(Permanent("never"), Verdict("ack"), id="permanent"),
        pytest.param(ModelRefused("bad key"), Verdict("ack"), id="refused"),
        pytest.param(ZeroDivisionError("x"), Verdict("again", 0.5), id="a bug"),
    ],
)
async def test_the_family_of_a_failure_decides(error, expected):
    assert await verdict(error) == expected


async def test_what_failed_for_a_while_comes_again_later_and_later():
    delays = [(await verdict(Transient("x"), attempt=n)).delay_s for n in range(1, 10)]
    assert delays == [*RETRY_AFTER_S, RETRY_AFTER_S[-1], RETRY_AFTER_S[-1]]


async def test_what_failed_for_a_while_is_never_given_up():
    assert (await verdict(Transient("x"), attempt=10_000)).action == "again"


async def test_what_can_never_work_is_parked_with_its_reason():
    log = FakeLog()
    assert await verdict(Permanent("never"), attempt=3, log=log) == Verdict("ack")
    (parked,) = log.events
    assert parked.subject == DEAD
    assert parked.event == DeliveryParked(
        durable="channel", subject=SUBJECT, seq=7, reason="never", attempts=3
    )
    assert (parked.envelope.cause, parked.envelope.actor) == ("e1", "channel")


async def test_a_damaged_event_is_parked_without_being_handled():
    log = FakeLog()
    assert await verdict(AssertionError("handled"), log=log, body=b"nonsense") == Verdict("ack")
    assert log.events[0].event.reason.startswith("cannot be decoded: ")


async def test_a_bug_that_does_not_go_away_is_parked():
    log = FakeLog()
    assert (await verdict(KeyError("x"), attempt=BUG_ATTEMPTS - 1, log=log)).action == "again"
    assert log.events == []
    assert await verdict(KeyError("x"), attempt=BUG_ATTEMPTS, log=log) == Verdict("ack")
    assert log.events[0].event.reason == "KeyError('x')"


async def test_a_long_reason_is_cut():
    log = FakeLog()
    await verdict(Permanent("x" * 5_000), log=log)
    assert len(log.events[0].event.reason) == 1_000


async def test_the_same_attempt_is_parked_once():
    log = FakeLog()
    for _ in range(2):
        await verdict(Permanent("never"), log=log)
    assert len(log.events) == 1


async def test_what_cannot_be_parked_comes_again():
    log = FakeLog()

    def away(subject):
        raise LogUnavailable("away")

    log.before_append = away
    assert await verdict(Permanent("never"), attempt=2, log=log) == Verdict("again", 1.0)


async def test_there_is_one_line_about_every_delivery():
    async def handle(_):
        raise Rejected("no such agent")

    with capture_logs() as lines:
        await settle(FakeLog(), "channel", delivery(2), handle)
    (line,) = lines
    line.pop("duration_ms")
    assert line == {
        "event": "event.consumed",
        "log_level": "info",
        "durable": "channel",
        "outcome": "rejected",
        "reason": "no such agent",
        "type": "message_received",
        "attempt": 2,
    }


async def test_what_a_handler_logs_names_the_place_in_the_log():
    bound = {}

    async def handle(_):
        bound.update(structlog.contextvars.get_contextvars())

    with capture_logs():
        await settle(FakeLog(), "channel", delivery(), handle)
    assert (bound["seq"], bound["turn"]) == (7, None)


@pytest.mark.parametrize(
    "subject", ["evt.acme.atlas.portal.General.channel._", "evt.a.b.c.d_.channel._"]
)
async def test_an_event_where_none_of_ours_can_be_is_left_alone_and_said_aloud(subject):
    """Somebody else published it: it belongs to no tenant, so it can be on nobody's list."""
    log = FakeLog()
    envelope = seal(message(), id=EventId("e1"), at=START, actor="person:ana")

    async def handle(delivery):
        parse(delivery.recorded.subject)

    with capture_logs() as lines:
        foreign = Delivery(record(7, subject, encode(envelope)), BUG_ATTEMPTS)
        assert await settle(log, "channel", foreign, handle) == Verdict("ack")
    assert log.events == []
    assert [line["subject"] for line in lines if line["event"] == "event.unplaceable"] == [subject]
