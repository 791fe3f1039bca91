"""Dead letters: turns that failed and deliveries that were given up, until someone retries them.

Grain:    one row per failed turn, and one per event and consumer that gave it up
Source:   turn_failed, retry_requested, delivery_parked, delivery_retried
Read by:  penstock dead, the dead-letter page
Rebuild:  any time
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Row, Statement
from schemas.base import RunId
from schemas.channel import RetryRequested, TurnFailed
from schemas.dead import DeliveryParked, DeliveryRetried

NAME = "dead_letters"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("dead_letters.sql")
TABLES = ("dead_letters",)

NEWEST: Final = 2**63 - 1  # behind every sequence

DEAD_LETTERS = Merge(
    "dead_letters",
    key=("tenant", "ref"),
    first=("agent", "adapter", "conversation", "turn_id", "durable", "subject", "event_seq"),
    last=("kind", "reason", "attempts", "parked_at", "retried_at", "open", "seq"),
)
TARGETS = (DEAD_LETTERS,)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `dead_letters`; times in UTC microseconds."""

    ref: str
    """Names it in a retry: `turn:ID` or `delivery:DURABLE:SEQ`."""
    kind: Literal["turn", "delivery"]
    agent: str
    adapter: str
    conversation: str
    turn_id: RunId | None
    durable: str | None
    subject: str | None
    event_seq: int | None
    reason: str
    attempts: int
    parked_at: int
    """Last time it was given up."""
    retried_at: int | None
    """Last time someone asked for it to be tried again."""
    open: bool
    seq: int


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the row of what was given up or is tried again."""
    at = recorded.envelope.at
    match recorded.event:
        case TurnFailed() as event:
            row: Row = {"kind": "turn", "reason": event.reason, "attempts": event.attempts}
            row |= {"turn_id": event.turn_id, "parked_at": at, "open": True}
            ref = f"turn:{event.turn_id}"
        case RetryRequested() as event:
            row, ref = {"retried_at": at, "open": False}, f"turn:{event.turn_id}"
        case DeliveryParked() as event:
            row = {"kind": "delivery", "reason": event.reason, "attempts": event.attempts}
            row |= {"durable": event.durable, "subject": event.subject, "event_seq": event.seq}
            row |= {"parked_at": at, "open": True}
            ref = f"delivery:{event.durable}:{event.seq}"
        case DeliveryRetried() as event:
            row, ref = {"retried_at": at, "open": False}, f"delivery:{event.durable}:{event.seq}"
        case _:
            return
    tenant, agent, adapter, conversation, *_ = place(recorded.subject)
    row |= {
        "tenant": tenant,
        "ref": ref,
        "agent": agent or "",
        "adapter": adapter or "",
        "conversation": conversation or "",
        "seq": recorded.seq,
    }
    yield Statement(DEAD_LETTERS, row)


async def listing(
    conn: Conn, tenant: str, *, retried: bool = False, before: int = NEWEST, limit: int = 50
) -> list[DeadLetter]:
    """Return what waits for a person, newest first; with `retried`, also what was tried again."""
    parameters: dict[str, object] = {
        "tenant": tenant,
        "retried": retried,
        "before": before,
        "limit": limit,
    }
    return await rows(conn, DeadLetter, SQL["listing"], parameters)


async def one(conn: Conn, tenant: str, ref: str) -> DeadLetter | None:
    """Return the dead letter, or None."""
    found = await rows(conn, DeadLetter, SQL["one"], {"tenant": tenant, "ref": ref})
    return found[0] if found else None
