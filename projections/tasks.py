"""Tasks: what an agent has to do, what waits for what, and how each became what it is.

Grain:    one row per task; one per pair of tasks that were ever made dependent; one per change
Source:   every event of schemas.tasks
Read by:  GET /agents/{agent}/tasks, penstock task list and history
Rebuild:  any time

What may happen to a task is decided on the log, never here.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from projections import _history
from projections._history import NEWEST
from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Row, Statement
from schemas.base import Content, GoalId, Outcome, RunId, TaskId
from schemas.tasks import (
    Priority,
    TaskApproved,
    TaskAttemptEnded,
    TaskCancelled,
    TaskCommented,
    TaskCompleted,
    TaskCreated,
    TaskDeferred,
    TaskDependencyAdded,
    TaskDependencyRemoved,
    TaskEdited,
    TaskQueued,
    TaskReopened,
    TasksEvent,
    TaskStarted,
    TaskState,
    TaskStepChecked,
)

NAME = "tasks"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("tasks.sql", shared=_history.SQL)
TABLES = ("tasks", "task_dependencies", "task_revisions")

TASKS = Merge(
    "tasks",
    key=("tenant", "agent", "task_id"),
    first=("created_by", "created_at"),
    last=(
        *("title", "description", "state", "priority", "plan", "checked", "goal"),
        *("run_id", "outcome", "attempts", "approved_by", "changed_at", "seq"),
    ),
)
DEPENDENCIES = Merge(
    "task_dependencies",
    key=("tenant", "agent", "task_id", "on_id"),
    first=(),
    last=("holds", "seq"),
)
REVISIONS = _history.target("task_revisions")
TARGETS = (TASKS, DEPENDENCIES, REVISIONS)


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `tasks`; times in UTC microseconds."""

    agent: str
    task_id: TaskId
    title: str
    description: Content
    state: TaskState
    priority: Priority
    plan: tuple[str, ...]
    checked: tuple[int, ...]
    """Steps of the plan that are done, counted from 1."""
    goal: GoalId | None
    run_id: RunId | None
    """Worker of the newest attempt."""
    outcome: Outcome | None
    """How that attempt ended."""
    attempts: int
    created_by: str
    approved_by: str | None
    created_at: int
    changed_at: int
    seq: int
    waiting_for: tuple[TaskId, ...]
    """Tasks that have to be done before, and are not."""


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the rows that an event changes, and its revision."""
    event = recorded.event
    if not isinstance(event, TasksEvent):
        return
    tenant, agent, *_ = place(recorded.subject)
    key: Row = {"tenant": tenant, "agent": agent or "", "task_id": event.task_id}
    if isinstance(event, TaskDependencyAdded | TaskDependencyRemoved):
        holds = isinstance(event, TaskDependencyAdded)
        edge: Row = {"on_id": event.on, "holds": holds, "seq": recorded.seq}
        yield Statement(DEPENDENCIES, {**key, **edge})
    else:
        changed = {"changed_at": recorded.envelope.at, "seq": recorded.seq}
        yield Statement(TASKS, {**key, **changed, **_changed(event, recorded)})
    yield Statement(REVISIONS, _history.row(recorded, tenant, agent or "", event.task_id))


def _changed(event: TasksEvent, recorded: Recorded) -> Row:
    """Return what an event changes in its task's row."""
    at, actor = recorded.envelope.at, recorded.envelope.actor
    row: Row = {}
    match event:
        case TaskCreated(title=title, state=state):
            row = {"title": title, "state": state, "created_by": actor, "created_at": at}
            row |= {"description": event.description, "priority": event.priority}
            row |= {"plan": event.plan, "checked": (), "goal": event.goal or ""}
            row["approved_by"] = "" if state == "pending_approval" else actor
        case TaskEdited():
            row = _edited(event)
        case TaskApproved(state=state):
            row = {"state": state, "approved_by": actor}
        case TaskReopened():
            row = {"state": "backlog", "approved_by": actor}
        case TaskQueued() | TaskDeferred() | TaskCompleted() | TaskCancelled():
            row = {"state": _MOVES[type(event)]}
        case TaskStarted(attempt=attempt, run_id=run_id):
            row = {"state": "in_progress", "attempts": attempt, "run_id": run_id or ""}
            row["outcome"] = ""
        case TaskAttemptEnded(outcome=outcome, state=state):
            # of an earlier attempt than the newest it says nothing: that one's is shown
            row = {"state": state} if state is None else {"state": state, "outcome": outcome}
        case TaskStepChecked(checked=checked):
            row = {"checked": checked}
        case TaskCommented() | TaskDependencyAdded() | TaskDependencyRemoved():
            pass
    return row


def _edited(event: TaskEdited) -> Row:
    row: Row = {"title": event.title, "description": event.description, "plan": event.plan}
    row |= {"priority": event.priority, "goal": event.goal, "state": event.state}
    row["checked"] = None if event.plan is None else ()
    row["approved_by"] = None if event.state is None else ""
    return row


_MOVES: Final[dict[type[TasksEvent], TaskState]] = {
    TaskQueued: "ready",
    TaskDeferred: "backlog",
    TaskCompleted: "done",
    TaskCancelled: "cancelled",
}


async def listing(  # noqa: PLR0913 - each narrows it down
    conn: Conn,
    tenant: str,
    agent: str,
    *,
    states: Sequence[TaskState] | None = None,
    goal: str | None = None,
    before: int = NEWEST,
    limit: int = 50,
) -> list[TaskRow]:
    """Return tasks whose `seq` is below `before`, last changed first.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        tenant: Whose.
        agent: Of which agent.
        states: Only these; None: all.
        goal: Only those for this goal.
        before: Where the page before ended.
        limit: Most of them.
    """
    parameters: dict[str, object] = {"tenant": tenant, "agent": agent, "goal": goal}
    parameters |= {"states": None if states is None else list(states)}
    parameters |= {"before": before, "limit": limit}
    return await rows(conn, TaskRow, SQL["listing"], parameters)
