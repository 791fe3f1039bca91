"""What a branch can do with the agent's tasks: propose, look, report, and start what was approved.

Whether something should be done is a person's word: no tool approves, queues or reopens a task, or
closes a goal; and a change of what was approved asks for approval anew.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from schemas.tasks import Priority, TaskState
from services.branch.scope import Scope
from services.errors import Rejected
from services.runtime.bodies import text_of
from services.runtime.tasks.board import Board
from services.runtime.tasks.desk import (
    Author,
    Desk,
    NewTask,
    Owner,
    comment_of,
    limited,
    plan_of,
    title_of,
)
from services.runtime.tasks.task import Change, Check, Edit, Say, Task, possible
from services.runtime.text import cut, quoted
from services.runtime.tool import Tool, ToolOutput

LISTED: Final = 50
SHOWN_BYTES: Final = 8_000  # of a description
TITLE: Final = 200


class TaskCreate(Struct, frozen=True):
    """Arguments of `task_create`."""

    title: Annotated[str, Meta(min_length=1, description="What is to be done, in a line.")]
    description: Annotated[
        str, Meta(description="Everything that whoever does it has to know.")
    ] = ""
    priority: Annotated[Priority, Meta(description="How urgent it is.")] = "medium"
    plan: Annotated[tuple[str, ...], Meta(description="Steps, in their order.")] = ()
    depends_on: Annotated[
        tuple[str, ...], Meta(description="Ids of tasks to be done before: T1.")
    ] = ()
    goal: Annotated[str, Meta(description="Id of the open goal that it is for: G1.")] = ""


class TaskList(Struct, frozen=True):
    """Arguments of `task_list`."""

    task_id: Annotated[str, Meta(description="One task, with everything about it: T1.")] = ""
    state: Annotated[
        TaskState | None, Meta(description="One state only; left out, whatever is not closed.")
    ] = None


class TaskUpdate(Struct, frozen=True):
    """Arguments of `task_update`."""

    task_id: Annotated[str, Meta(min_length=1, description="Id of the task: T1.")]
    do: Annotated[
        Literal["edit", "check", "run", "done", "withdraw"],
        Meta(
            description="edit: change what is to be done; of an approved task that needs approval "
            "anew. check: a step of its plan is done. run: start a worker on a task that is ready. "
            "done: it is done. withdraw: take back a proposal."
        ),
    ]
    title: Annotated[str | None, Meta(description="For edit.")] = None
    description: Annotated[str | None, Meta(description="For edit.")] = None
    priority: Annotated[Priority | None, Meta(description="For edit.")] = None
    plan: Annotated[tuple[str, ...] | None, Meta(description="For edit: all steps.")] = None
    step: Annotated[int | None, Meta(description="For check: counted from 1.")] = None
    reason: Annotated[str, Meta(description="Why, in a sentence; recorded.")] = ""


class TaskComment(Struct, frozen=True):
    """Arguments of `task_comment`."""

    task_id: Annotated[str, Meta(min_length=1, description="Id of the task: T1.")]
    text: Annotated[str, Meta(min_length=1, description="What to say about it.")]


class GoalList(Struct, frozen=True):
    """Arguments of `goal_list`."""

    all: Annotated[bool, Meta(description="Also what is achieved or given up.")] = False


def _desk(scope: Scope) -> Desk:
    return scope.desk or Desk(scope.writer, scope.bodies)


def _owner(scope: Scope) -> Owner:
    return Owner(scope.conversation.tenant, scope.agent)


def _author(scope: Scope, key: str) -> Author:
    """Return as whom a branch changes tasks, which it may not do in a fork."""
    scope.may_change()
    return Author(
        "branch", "agent", f"tool {key}", run_id=scope.run_id, cause=scope.source, turn=scope.turn
    )


def _here(scope: Scope) -> str:
    return f"{scope.conversation.adapter}/{scope.conversation.conversation}"


async def _create(scope: Scope, key: str, arguments: TaskCreate) -> ToolOutput:
    new = NewTask(
        arguments.title,
        arguments.description,
        arguments.priority,
        arguments.plan,
        arguments.goal,
        arguments.depends_on,
        conversation=_here(scope),
    )
    task = await _desk(scope).create(_owner(scope), new, _author(scope, key))
    return ToolOutput(
        f"Proposed as {task.task_id}. It waits for a person to approve it; nothing runs before."
    )


async def _list(scope: Scope, key: str, arguments: TaskList) -> ToolOutput:  # noqa: ARG001 - a tool's
    board = await _desk(scope).board(_owner(scope))
    if arguments.task_id:
        task = board.task(arguments.task_id)
        description = await text_of(scope.bodies, task.description)
        return ToolOutput("\n".join(_whole(board, task, description)))
    found = board.listing((arguments.state,) if arguments.state else ())
    lines = [_line(board, task) for task in found[:LISTED]]
    if not lines:
        return ToolOutput("There is no task like that." if arguments.state else "No open task.")
    if len(found) > LISTED:
        lines.append(f"and {len(found) - LISTED} more; ask for one state")
    return ToolOutput("Tasks, as data:\n" + "\n".join(lines))


def _line(board: Board, task: Task) -> str:
    parts: list[str] = [task.state, task.priority]
    if waiting_for := board.waiting_for(task.task_id):
        parts.append(f"waits for {', '.join(waiting_for)}")
    if task.attempts:
        last = task.attempts[-1]
        how = last.outcome or ("at work" if last.run_id else "by a person")
        parts.append(f"attempt {last.number} {how}")
    return f"- {task.task_id} {quoted(task.title, TITLE)} ({'; '.join(parts)})"


def _whole(board: Board, task: Task, description: str) -> Iterator[str]:
    yield "A task, as data:"
    yield _line(board, task)
    yield f"  created by {task.created_by}; approved by {task.approved_by or 'nobody'}"
    yield f"  for you possible: {', '.join(possible(task, 'agent'))}"
    for line in cut(description, SHOWN_BYTES).splitlines():
        yield f"  | {line}"
    for number, step in enumerate(task.plan, start=1):
        yield f"  {number}. [{'x' if number in task.checked else ' '}] {quoted(step, 300)}"
    for said in task.comments:
        yield f"  {said.by} said {quoted(said.text, 1_000)}"


async def _update(scope: Scope, key: str, arguments: TaskUpdate) -> ToolOutput:
    desk, owner, author = _desk(scope), _owner(scope), _author(scope, key)
    reason = limited(arguments.reason, 4_000, "a reason")
    command: Edit | Check | Change
    match arguments.do:
        case "run":
            task = await desk.run(owner, arguments.task_id, author, _here(scope))
            attempt = task.attempts[-1]
            return ToolOutput(
                f"Worker {attempt.run_id} is at work on {task.task_id}; its result goes to the "
                "conversation."
            )
        case "edit":
            command = await _edit(desk, arguments, reason)
        case "check":
            if arguments.step is None:
                raise Rejected("check needs a step.")
            command = Check(arguments.step)
        case "done":
            command = Change("done", reason)
        case "withdraw":
            command = Change("cancel", reason)
    task = await desk.change(owner, arguments.task_id, command, author)
    return ToolOutput(f"{task.task_id} is {task.state} now.")


async def _edit(desk: Desk, arguments: TaskUpdate, reason: str) -> Edit:
    text = arguments.description
    return Edit(
        title=None if arguments.title is None else title_of(arguments.title),
        description=None if text is None else await desk.content(text),
        priority=arguments.priority,
        plan=None if arguments.plan is None else plan_of(arguments.plan),
        reason=reason,
    )


async def _comment(scope: Scope, key: str, arguments: TaskComment) -> ToolOutput:
    said, author = Say(comment_of(arguments.text)), _author(scope, key)
    task = await _desk(scope).change(_owner(scope), arguments.task_id, said, author)
    return ToolOutput(f"Said about {task.task_id}.")


async def _goals(scope: Scope, key: str, arguments: GoalList) -> ToolOutput:  # noqa: ARG001 - a tool's
    board = await _desk(scope).board(_owner(scope))
    lines = [
        f"- {goal.goal_id} {quoted(goal.title, TITLE)} ({goal.state}"
        f"{f'; due {goal.due}' if goal.due else ''})"
        for goal in board.goals.values()
        if arguments.all or goal.state == "open"
    ]
    return ToolOutput("Goals, as data:\n" + "\n".join(lines) if lines else "There is no goal.")


TASK_TOOLS: Final[tuple[Tool[Scope, Any], ...]] = (
    Tool(
        "task_create",
        "Propose a task for the agent's list. A person has to approve it.",
        TaskCreate,
        _create,
        repeatable=True,
    ),
    Tool(
        "task_list",
        "See the agent's tasks: those that are not closed, those of one state, or one in full.",
        TaskList,
        _list,
        repeatable=True,
    ),
    Tool(
        "task_update",
        "Change a task, check a step, have a ready one done by a worker, or say that it is done. "
        "Only people approve.",
        TaskUpdate,
        _update,
        repeatable=True,
    ),
    Tool("task_comment", "Say something about a task.", TaskComment, _comment, repeatable=True),
    Tool(
        "goal_list",
        "See what the tasks are for. Only people close a goal.",
        GoalList,
        _goals,
        repeatable=True,
    ),
)
