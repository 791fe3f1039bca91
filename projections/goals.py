"""Goals: what an agent's tasks are for, and how each became what it is.

Grain:    one row per goal; one per change
Source:   every event of schemas.goals
Read by:  GET /agents/{agent}/goals, penstock goal list and history
Rebuild:  any time
"""

from collections.abc import Iterator

import msgspec

from projections import _history
from projections._history import NEWEST
from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Row, Statement
from schemas.base import Content, GoalId
from schemas.goals import (
    GoalClosed,
    GoalCommented,
    GoalCreated,
    GoalEdited,
    GoalReopened,
    GoalsEvent,
    GoalState,
)

NAME = "goals"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("goals.sql", shared=_history.SQL)
TABLES = ("goals", "goal_revisions")

GOALS = Merge(
    "goals",
    key=("tenant", "agent", "goal_id"),
    first=("created_by", "created_at"),
    last=("title", "description", "state", "due", "closed_by", "changed_at", "seq"),
)
REVISIONS = _history.target("goal_revisions")
TARGETS = (GOALS, REVISIONS)


class GoalRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `goals`; times in UTC microseconds."""

    agent: str
    goal_id: GoalId
    title: str
    description: Content
    state: GoalState
    due: str
    """YYYY-MM-DD, or empty."""
    created_by: str
    closed_by: str | None
    created_at: int
    changed_at: int
    seq: int


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the goal's row, and its revision."""
    event = recorded.event
    if not isinstance(event, GoalsEvent):
        return
    tenant, agent, *_ = place(recorded.subject)
    key: Row = {"tenant": tenant, "agent": agent or "", "goal_id": event.goal_id}
    changed = {"changed_at": recorded.envelope.at, "seq": recorded.seq}
    yield Statement(GOALS, {**key, **changed, **_changed(event, recorded)})
    yield Statement(REVISIONS, _history.row(recorded, tenant, agent or "", event.goal_id))


def _changed(event: GoalsEvent, recorded: Recorded) -> Row:
    at, actor = recorded.envelope.at, recorded.envelope.actor
    match event:
        case GoalCreated():
            row: Row = {"title": event.title, "description": event.description, "due": event.due}
            return row | {"state": "open", "created_by": actor, "created_at": at, "closed_by": ""}
        case GoalEdited():
            return {"title": event.title, "description": event.description, "due": event.due}
        case GoalClosed(state=state):
            return {"state": state, "closed_by": actor}
        case GoalReopened():
            return {"state": "open", "closed_by": ""}
        case GoalCommented():
            return {}


async def listing(
    conn: Conn,
    tenant: str,
    agent: str,
    *,
    closed: bool = False,
    before: int = NEWEST,
    limit: int = 50,
) -> list[GoalRow]:
    """Return goals whose `seq` is below `before`, last changed first; closed ones on demand."""
    parameters: dict[str, object] = {"tenant": tenant, "agent": agent, "all": closed}
    parameters |= {"before": before, "limit": limit}
    return await rows(conn, GoalRow, SQL["listing"], parameters)
