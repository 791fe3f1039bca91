"""What happened to a thing, one row per event, never changed: its immutable revisions."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from projections._recorded import Recorded
from projections._sql import Conn, load, rows
from projections._statement import Insert, Row
from schemas.base import EventId, RunId

SQL: Final[Mapping[str, str]] = load("history.sql")
NEWEST: Final = 2**63 - 1  # behind every sequence
COLUMNS: Final = (
    *("tenant", "agent", "ref", "event_id", "seq", "at", "actor", "cause", "turn"),
    *("type", "data"),
)


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One change, as it is on the log."""

    seq: int
    event_id: EventId
    at: int
    """UTC microseconds."""
    actor: str
    """Who did it."""
    type: str
    """What happened: the event's tag."""
    data: dict[str, Any]
    """The event, with what it changed and why."""
    cause: EventId | None
    turn: RunId | None


def target(table: str) -> Insert:
    """Return where revisions go."""
    columns = ", ".join(COLUMNS)
    return Insert(
        f"INSERT INTO {table} ({columns})\n"
        f"SELECT {columns} FROM json_populate_recordset(NULL::{table}, %(rows)s::json)\n"
        "ON CONFLICT DO NOTHING",
        key=("tenant", "event_id"),
    )


def row(recorded: Recorded, tenant: str, agent: str, ref: str) -> Row:
    """Return the revision that an event is of the thing called `ref`."""
    envelope = recorded.envelope
    return {
        "tenant": tenant,
        "agent": agent,
        "ref": ref,
        "event_id": envelope.id,
        "seq": recorded.seq,
        "at": envelope.at,
        "actor": envelope.actor,
        "cause": envelope.cause,
        "turn": envelope.turn,
        "type": envelope.type,
        "data": msgspec.json.decode(envelope.data),
    }


async def revisions(  # noqa: PLR0913 - a page of one thing's
    conn: Conn,
    table: str,
    tenant: str,
    agent: str,
    ref: str,
    *,
    before: int = NEWEST,
    limit: int = 200,
) -> list[Revision]:
    """Return what happened to the thing called `ref`, newest first."""
    parameters: dict[str, object] = {"tenant": tenant, "agent": agent, "ref": ref}
    parameters |= {"before": before, "limit": limit}
    return await rows(conn, Revision, SQL["newest_first"].format(table=table), parameters)
