"""Turn the outcome of a handler into an acknowledgement, and write the one line about it.

The only place where an error's family decides what happens to a delivery.
"""

from dataclasses import dataclass
from time import perf_counter
from typing import Final, Literal

import structlog

from schemas.dead import DeliveryParked
from schemas.envelope import seal
from schemas.subjects import InvalidToken, parse
from services.errors import Fenced, HandedBack, Permanent, Rejected, Transient
from services.runtime import ids
from services.runtime.event_log import Delivery, EventLog, Handler
from services.runtime.telemetry.context import handling
from services.runtime.telemetry.live import LIVE

RETRY_AFTER_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # then every 30 s
BUG_ATTEMPTS: Final = 8  # deliveries after which an exception that nobody foresaw is parked

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a delivery."""

    action: Literal["ack", "again", "drop"]
    """Drop: say nothing, because the delivery belongs to another process now."""
    delay_s: float = 0.0


async def settle(event_log: EventLog, durable: str, delivery: Delivery, handle: Handler) -> Verdict:
    """Handle one delivery and say whether it is done or comes again.

    An event that cannot be decoded, a `Permanent` failure and a repeated bug are parked: an event
    on the dead-letter list says so, and the conversation's other events go on.
    """
    with handling(delivery.recorded.envelope):
        return await _settle(event_log, durable, delivery, handle)


async def _settle(
    event_log: EventLog, durable: str, delivery: Delivery, handle: Handler
) -> Verdict:
    recorded = delivery.recorded
    started = perf_counter()
    outcome, reason = "handled", None
    verdict = Verdict("ack")
    structlog.contextvars.bind_contextvars(turn=recorded.envelope.turn, seq=recorded.seq)
    try:
        if recorded.problem is not None:
            raise Permanent(f"cannot be decoded: {recorded.problem}")  # noqa: TRY301 - one family
        await handle(delivery)
    except Rejected as error:
        outcome, reason = "rejected", str(error)
    except Fenced as error:
        outcome, reason = "fenced", str(error)
        verdict = Verdict("drop")
    except HandedBack as error:
        outcome, reason = "handed back", str(error)
        verdict = Verdict("again")
    except Permanent as error:
        outcome, reason = "parked", str(error)
    except Transient as error:
        outcome, reason = "retried", str(error)
        verdict = again(delivery)
    except Exception as error:
        log.exception("event.failed", durable=durable)
        outcome, reason = "failed", repr(error)
        if delivery.attempt >= BUG_ATTEMPTS:
            outcome = "parked"
        else:
            verdict = again(delivery)
    if outcome == "parked":
        verdict = await _park(event_log, durable, delivery, reason or "")
    if LIVE.recorder is not None:
        LIVE.recorder.processed(durable, delivery, outcome, perf_counter() - started)
    log.info(
        "event.consumed",
        durable=durable,
        outcome=outcome,
        reason=reason,
        type=recorded.envelope.type,
        attempt=delivery.attempt,
        duration_ms=round((perf_counter() - started) * 1_000),
    )
    return verdict


def again(delivery: Delivery) -> Verdict:
    """Return the verdict that repeats a delivery, later each time."""
    return Verdict("again", RETRY_AFTER_S[min(delivery.attempt, len(RETRY_AFTER_S)) - 1])


async def _park(event_log: EventLog, durable: str, delivery: Delivery, reason: str) -> Verdict:
    """Put the delivery on the dead-letter list; if even that fails it comes again."""
    recorded = delivery.recorded
    try:
        dead = str(parse(recorded.subject).of("dead"))
    except InvalidToken:  # not of our making: no tenant's list could show it
        log.exception(
            "event.unplaceable", durable=durable, subject=recorded.subject, seq=recorded.seq
        )
        return Verdict("ack")
    parked = seal(
        DeliveryParked(
            durable=durable,
            subject=recorded.subject,
            seq=recorded.seq,
            reason=reason[:1_000],
            attempts=delivery.attempt,
        ),
        id=ids.derived("parked", durable, str(recorded.seq), str(delivery.attempt)),
        at=recorded.envelope.at,
        actor=durable,
        cause=recorded.envelope.id,
        turn=recorded.envelope.turn,
        traceparent=recorded.envelope.traceparent,
    )
    try:
        await event_log.append(dead, parked)
    except Transient:
        return again(delivery)
    return Verdict("ack")
