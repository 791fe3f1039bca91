"""Tasks of an agent. Whoever comes through here is a person: agents have tools.

GET   /agents/{agent}/tasks                          which there are, from the read model
POST  /agents/{agent}/tasks                          create one
GET   /agents/{agent}/tasks/{task}                   one as it is, from the log
GET   /agents/{agent}/tasks/{task}/history           its revisions, from the read model
POST  /agents/{agent}/tasks/{task}/state             approve, queue, start, done, cancel, …
POST  /agents/{agent}/tasks/{task}/run               have a worker do it
POST  /agents/{agent}/tasks/{task}/edit              change what is to be done
POST  /agents/{agent}/tasks/{task}/steps             check a step of its plan
POST  /agents/{agent}/tasks/{task}/comments          say something about it
POST  /agents/{agent}/tasks/{task}/dependencies      let it wait for another one, or no longer
"""

from typing import Annotated, Literal, TypeAlias

from litestar import Router, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta, Struct

from projections import tasks
from projections._history import NEWEST
from projections.tasks import TaskRow
from schemas.base import GoalId, TaskId
from schemas.subjects import matching
from schemas.tasks import Priority, TaskState
from services.api import reading
from services.api.routes.boards import (
    CHANGED,
    AllTasks,
    Body,
    Reason,
    Remark,
    RevisionPage,
    Whose,
    author_of,
    history,
    router_of,
)
from services.api.routes.pages import Before, Limit, following
from services.api.routes.scope import Parts, failures
from services.runtime.tasks import desk as desks
from services.runtime.tasks.board import Board
from services.runtime.tasks.desk import Desk, NewTask, Owner, comment_of, limited, plan_of, title_of
from services.runtime.tasks.task import (
    Approve,
    Change,
    Check,
    Command,
    Edit,
    Say,
    Start,
    Task,
    Verb,
    possible,
)

TaskName: TypeAlias = FromPath[str]
Move = Literal["approve", "queue", "start", "done", "defer", "cancel", "reopen"]


class TaskWanted(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new task."""

    title: str
    description: str = ""
    priority: Priority = "medium"
    plan: tuple[str, ...] = ()
    goal: Annotated[str, Meta(description="Id of an open goal.")] = ""
    depends_on: Annotated[tuple[str, ...], Meta(description="Tasks to be done before.")] = ()
    later: Annotated[bool, Meta(description="To the backlog, though it could be done.")] = False


class TaskMove(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From one state to another."""

    move: Move
    reason: Reason = ""
    later: Annotated[bool, Meta(description="Approve to the backlog.")] = False


class TaskRun(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Have a worker do it."""

    conversation: Annotated[
        str | None,
        Meta(description="`adapter/conversation` to report to; left out, where it came up."),
    ] = None


class TaskChange(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be done instead; what is left out stays."""

    title: str | None = None
    description: str | None = None
    priority: Priority | None = None
    plan: list[str] | None = None
    goal: Annotated[str | None, Meta(description="Empty: no goal any more.")] = None
    reason: Reason = ""
    revision: Annotated[
        int | None, Meta(description="Refuse it where the task has changed since this one.")
    ] = None


class StepDone(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of the plan."""

    step: Annotated[int, Meta(ge=1, description="Counted from 1.")]
    done: bool = True


class Dependency(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another task, which has to be done before."""

    on: str
    remove: bool = False


class TaskPage(Struct, frozen=True, kw_only=True):
    """Tasks, last changed first."""

    items: list[TaskRow]
    next: int | None
    """Pass it as `before` for the following page; None: there is none."""


class TaskDetail(Struct, frozen=True, kw_only=True):
    """One task, and what may be done to it."""

    task: Task
    depends_on: tuple[TaskId, ...]
    waiting_for: tuple[TaskId, ...]
    """Those of them that are not done."""
    possible: tuple[Verb, ...]


def detail(board: Board, task: Task) -> TaskDetail:
    """Return a task as it is shown."""
    return TaskDetail(
        task=task,
        depends_on=board.depends.get(task.task_id, ()),
        waiting_for=board.waiting_for(task.task_id),
        possible=possible(task, "person"),
    )


@get("/", summary="List an agent's tasks", responses=failures(404, 422, 503))
async def list_tasks(
    owner: Whose,
    process: Parts,
    states: Annotated[
        list[TaskState] | None, QueryParameter(description="Only these; may be repeated.")
    ] = None,
    goal: Annotated[str | None, QueryParameter(description="Only those for this goal.")] = None,
    before: Before = NEWEST,
    limit: Limit = 50,
) -> TaskPage:
    """Return tasks, last changed first, with what was changed before this was asked."""
    await reading.caught_up(process, tasks.NAME, matching(*owner, entity="task"))
    async with reading.of_tenant(process.pool, owner.tenant) as conn:
        items = await tasks.listing(
            conn, *owner, states=states, goal=goal, before=before, limit=limit
        )
    return TaskPage(items=items, next=following([it.seq for it in items], limit))


@post("/", status_code=201, summary="Create a task", responses=CHANGED)
async def create_task(data: JSONBody[TaskWanted], owner: Whose, desk: AllTasks) -> TaskDetail:
    """Create a task; a person's needs no approval."""
    new = NewTask(
        data.title,
        data.description,
        data.priority,
        data.plan,
        data.goal,
        data.depends_on,
        later=data.later,
    )
    task = await desk.create(owner, new, author_of(data))
    return detail(await desk.board(owner), task)


@get("/{task:str}", summary="See one task", responses=failures(404, 422, 503))
async def get_task(task: TaskName, owner: Whose, desk: AllTasks) -> TaskDetail:
    """Return a task with its attempts and newest comments, from the log itself."""
    board = await desk.board(owner)
    return detail(board, board.task(task))


@get("/{task:str}/history", summary="See how a task came about", responses=failures(404, 422, 503))
async def get_task_history(
    task: TaskName,
    owner: Whose,
    desk: AllTasks,
    process: Parts,
    before: Before = NEWEST,
    limit: Limit = 50,
) -> RevisionPage:
    """Return every change of a task, newest first: what, by whom, and why."""
    known = (await desk.board(owner)).task(task)
    await reading.caught_up(process, tasks.NAME, matching(*owner, entity="task"))
    return await history(process, owner, "task_revisions", known.task_id, (before, limit))


async def _changed(desk: Desk, owner: Owner, name: str, command: Command, body: Body) -> TaskDetail:
    task = await desk.change(owner, name, command, author_of(body))
    return detail(await desk.board(owner), task)


@post("/{task:str}/state", status_code=200, summary="Move a task", responses=CHANGED)
async def move_task(
    task: TaskName, data: JSONBody[TaskMove], owner: Whose, desk: AllTasks
) -> TaskDetail:
    """Approve it, queue it, start on it, say that it is done, …; the author is recorded."""
    reason = limited(data.reason, desks.TEXT, "a reason")
    command: Command
    match data.move:
        case "approve":
            command = Approve(reason, data.later)
        case "start":
            command = Start()
        case move:
            command = Change(move, reason)
    return await _changed(desk, owner, task, command, data)


@post("/{task:str}/run", status_code=202, summary="Have a worker do a task", responses=CHANGED)
async def run_task(
    task: TaskName, data: JSONBody[TaskRun], owner: Whose, desk: AllTasks
) -> TaskDetail:
    """Start a worker on a task that is ready; its result comes to a conversation."""
    done = await desk.run(owner, task, author_of(data), data.conversation)
    return detail(await desk.board(owner), done)


@post("/{task:str}/edit", status_code=200, summary="Change a task", responses=CHANGED)
async def edit_task(
    task: TaskName, data: JSONBody[TaskChange], owner: Whose, desk: AllTasks
) -> TaskDetail:
    """Change what is to be done."""
    goal = data.goal and (await desk.board(owner)).goal(data.goal).goal_id
    command = Edit(
        title=None if data.title is None else title_of(data.title),
        description=None if data.description is None else await desk.content(data.description),
        priority=data.priority,
        plan=None if data.plan is None else plan_of(data.plan),
        goal=None if goal is None else GoalId(goal),
        reason=limited(data.reason, desks.TEXT, "a reason"),
        revision=data.revision,
    )
    return await _changed(desk, owner, task, command, data)


@post("/{task:str}/steps", status_code=200, summary="Check a step", responses=CHANGED)
async def check_step(
    task: TaskName, data: JSONBody[StepDone], owner: Whose, desk: AllTasks
) -> TaskDetail:
    """Say that a step of the plan is done, or that it is not."""
    return await _changed(desk, owner, task, Check(data.step, data.done), data)


@post("/{task:str}/comments", status_code=200, summary="Comment on a task", responses=CHANGED)
async def comment_task(
    task: TaskName, data: JSONBody[Remark], owner: Whose, desk: AllTasks
) -> TaskDetail:
    """Say something about a task, in whatever state it is."""
    return await _changed(desk, owner, task, Say(comment_of(data.text)), data)


@post("/{task:str}/dependencies", status_code=200, summary="Order tasks", responses=CHANGED)
async def depend_task(
    task: TaskName, data: JSONBody[Dependency], owner: Whose, desk: AllTasks
) -> TaskDetail:
    """Let a task wait for another one, or no longer; a circle is refused."""
    done = await desk.depend(owner, task, data.on, author_of(data), remove=data.remove)
    return detail(await desk.board(owner), done)


def router(desk: Desk) -> Router:
    """Return the routes."""
    return router_of(
        "tasks",
        desk,
        *(list_tasks, create_task, get_task, get_task_history, move_task, run_task),
        *(edit_task, check_step, comment_task, depend_task),
    )
