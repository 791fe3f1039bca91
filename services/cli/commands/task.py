"""`penstock task`: what an agent has to do, and a person's word on it."""

from typing import Any, Literal

from schemas.tasks import Priority, TaskState
from services.cli import boards, output
from services.cli.boards import Client, Comment, Move, OfAgent, One, part
from services.cli.exits import OK
from services.cli.options import Options
from services.errors import Rejected


class Listing(OfAgent):
    """Arguments of `task list`."""

    state: list[TaskState] | None = None
    goal: str | None = None
    all: bool = False
    limit: int = 50


class Create(OfAgent):
    """Arguments of `task create`."""

    title: str
    description: str = ""
    priority: Priority = "medium"
    step: list[str] | None = None
    after: list[str] | None = None
    goal: str = ""
    later: bool = False


class Approve(Move):
    """Arguments of `task approve`."""

    later: bool = False


class Run(OfAgent):
    """Arguments of `task run`."""

    id: str
    conversation: str | None = None


class Edit(OfAgent):
    """Arguments of `task edit`."""

    id: str
    title: str | None = None
    description: str | None = None
    priority: Priority | None = None
    goal: str | None = None
    reason: str = ""
    revision: int | None = None


class Plan(OfAgent):
    """Arguments of `task plan`."""

    id: str
    steps: list[str]
    done: int | None = None
    undone: int | None = None


class Block(OfAgent):
    """Arguments of `task block` and `task unblock`."""

    id: str
    on: str


OPEN = ("in_progress", "ready", "pending_approval", "backlog")


def listing(options: Listing) -> int:
    """Print tasks, last changed first."""
    states = options.state or (() if options.all else OPEN)
    found = _client(options).listing(options.limit, states=states, goal=options.goal)
    if options.json:
        output.document(found)
    elif not found:
        print("No task.")
    else:
        rows = [
            (e["task_id"], _state(e), e["priority"], output.one_line(e["title"])) for e in found
        ]
        output.table(("id", "state", "priority", "task"), rows)
    return OK


def show(options: One) -> int:
    """Print one task."""
    return _tell(options, _client(options).get(options.id), whole=True)


def history(options: One) -> int:
    """Print how a task came about."""
    return boards.history(_client(options), options)


def create(options: Create) -> int:
    """Create a task; a person's needs no approval."""
    made = _client(options).post(
        title=options.title,
        description=options.description,
        priority=options.priority,
        plan=options.step,
        depends_on=options.after,
        goal=options.goal,
        later=options.later,
    )
    return _tell(options, made)


def approve(options: Approve) -> int:
    """Agree to what an agent proposed."""
    return _move(options, "approve", later=options.later)


def queue(options: Move) -> int:
    """From the backlog to what is done next."""
    return _move(options, "queue")


def defer(options: Move) -> int:
    """Back to the backlog."""
    return _move(options, "defer")


def start(options: Move) -> int:
    """Say that somebody works on it."""
    return _move(options, "start")


def done(options: Move) -> int:
    """Say that it is done."""
    return _move(options, "done")


def cancel(options: Move) -> int:
    """Say that it will not be done."""
    return _move(options, "cancel")


def reopen(options: Move) -> int:
    """Put it back to the backlog after its end."""
    return _move(options, "reopen")


def run(options: Run) -> int:
    """Have a worker do it."""
    path = f"/{part(options.id)}/run"
    return _tell(options, _client(options).post(path, conversation=options.conversation))


def edit(options: Edit) -> int:
    """Change what is to be done."""
    changed = _client(options).edit(
        options.id,
        title=options.title,
        description=options.description,
        priority=options.priority,
        goal=options.goal,
        reason=options.reason,
        revision=options.revision,
    )
    return _tell(options, changed)


def plan(options: Plan) -> int:
    """Write the plan anew, or check one of its steps."""
    given = [bool(options.steps), options.done is not None, options.undone is not None]
    if sum(given) != 1:
        raise Rejected("say the steps of a new plan, or --done N, or --undone N")
    client, path = _client(options), f"/{part(options.id)}"
    if options.steps:
        return _tell(options, client.edit(options.id, plan=options.steps), whole=True)
    step = options.done if options.done is not None else options.undone
    is_done = options.done is not None
    return _tell(options, client.post(f"{path}/steps", step=step, done=is_done), whole=True)


def comment(options: Comment) -> int:
    """Say something about it."""
    return _tell(options, _client(options).comment(options))


def block(options: Block) -> int:
    """Let it wait for another task."""
    path = f"/{part(options.id)}/dependencies"
    return _tell(options, _client(options).post(path, on=options.on))


def unblock(options: Block) -> int:
    """Let it no longer wait for another task."""
    path = f"/{part(options.id)}/dependencies"
    return _tell(options, _client(options).post(path, on=options.on, remove=True))


def _client(options: OfAgent) -> Client:
    return Client(options, "tasks")


Verb = Literal["approve", "queue", "start", "done", "defer", "cancel", "reopen"]


def _move(options: Move, verb: Verb, **more: object) -> int:
    return _tell(options, _client(options).move(options, verb, **more))


def _state(row: dict[str, Any]) -> str:
    waiting = row["waiting_for"]
    return f"{row['state']}, waits for {', '.join(waiting)}" if waiting else str(row["state"])


def _tell(options: Options, found: dict[str, Any], *, whole: bool = False) -> int:
    """Print a task: one line after a change, everything where it was asked for."""
    if options.json:
        output.document(found)
        return OK
    task = found["task"]
    state = _state({"state": task["state"], "waiting_for": found["waiting_for"]})
    print(f"{task['task_id']} {output.one_line(task['title'])} ({state})")
    if whole:
        _tell_all(found, task)
    return OK


def _tell_all(found: dict[str, Any], task: dict[str, Any]) -> None:
    print(f"  priority     {task['priority']}")
    print(f"  created by   {task['created_by']}, {output.when(task['created_at'])}")
    print(f"  approved by  {task.get('approved_by') or 'nobody'}")
    if task.get("goal"):
        print(f"  goal         {task['goal']}")
    if found["depends_on"]:
        print(f"  depends on   {', '.join(found['depends_on'])}")
    print(f"  revision     {task['revision']}")
    print(f"  possible     {', '.join(found['possible'])}")
    if task["description"]:
        print(f"\n{boards.content(task['description'])}")
    for number, step in enumerate(task["plan"], start=1):
        print(f"  {number}. [{'x' if number in task['checked'] else ' '}] {output.one_line(step)}")
    for attempt in task["attempts"]:
        who = f"worker {attempt['run_id']}" if attempt["run_id"] else attempt["by"]
        print(f"  attempt {attempt['number']}: {who}, {attempt.get('outcome') or 'not ended'}")
        if attempt.get("result"):
            print(f"    {output.one_line(boards.content(attempt['result']))}")
    for said in task["comments"]:
        print(f"  {output.when(said['at'])} {said['by']}: {output.one_line(said['text'], 200)}")
