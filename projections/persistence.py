"""Persistence: where something was said that nobody has looked through for what is worth keeping.

Grain:    one row per conversation
Source:   the channel streams, but those of forks, from which nothing is kept
Read by:  the branch service, which decides on the log; a row only says where to look
Rebuild:  any time
"""

from collections.abc import Iterator

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Row, Statement
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    ChannelEvent,
    MessageReceived,
    TurnCompleted,
    WorkerConcluded,
)
from schemas.subjects import FORK

NAME = "persistence"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("persistence.sql")
TABLES = ("persistence",)

PERSISTENCE = Merge(
    "persistence",
    key=("tenant", "agent", "adapter", "conversation"),
    first=(),
    last=("said_seq", "said_at", "requested_seq", "last_seq"),
)
TARGETS = (PERSISTENCE,)


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in which something was said since a look at it was last requested."""

    tenant: str
    agent: str
    adapter: str
    conversation: str
    said_seq: int
    last_seq: int
    """The newest event that a decision about it may depend on."""


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the conversation's row."""
    event = recorded.event
    if not isinstance(event, ChannelEvent):
        return
    changed = _changed(event, recorded)
    if changed is None:
        return
    tenant, agent, adapter, conversation, *_ = place(recorded.subject)
    if adapter == FORK:
        return
    where: Row = {
        "tenant": tenant,
        "agent": agent or "",
        "adapter": adapter or "",
        "conversation": conversation or "",
    }
    yield Statement(PERSISTENCE, {**where, "last_seq": recorded.seq, **changed})


def _changed(event: ChannelEvent, recorded: Recorded) -> Row | None:
    match event:
        case MessageReceived():
            return {"said_seq": recorded.seq, "said_at": recorded.envelope.at}
        case BranchRequested(purpose="persistence"):
            return {"requested_seq": recorded.seq}
        case BranchConcluded() | WorkerConcluded() | TurnCompleted():
            return {}
        case _:
            return None


async def pending(
    conn: Conn, *, said_since: int, after: int = 0, limit: int = 500
) -> list[Pending]:
    """Return conversations of every tenant with something to look through, by `said_seq`.

    Args:
        conn: Not a tenant's connection, which would see its own conversations only.
        said_since: UTC microseconds; what was said before is left alone.
        after: The `said_seq` to go on behind.
        limit: Most of them.
    """
    parameters: dict[str, object] = {"said_since": said_since, "after": after, "limit": limit}
    return await rows(conn, Pending, SQL["pending"], parameters)
