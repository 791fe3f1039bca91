"""`penstock goal`: what an agent's tasks are for. Only people close one."""

from typing import Any

from services.cli import boards, output
from services.cli.boards import Client, Comment, Move, OfAgent, One
from services.cli.exits import OK
from services.cli.options import Options


class Listing(OfAgent):
    """Arguments of `goal list`."""

    all: bool = False
    limit: int = 50


class Create(OfAgent):
    """Arguments of `goal create`."""

    title: str
    description: str = ""
    due: str = ""


class Edit(OfAgent):
    """Arguments of `goal edit`."""

    id: str
    title: str | None = None
    description: str | None = None
    due: str | None = None
    reason: str = ""


def listing(options: Listing) -> int:
    """Print goals, last changed first."""
    query = {"all": "true"} if options.all else {}
    found = _client(options).listing(options.limit, **query)
    if options.json:
        output.document(found)
    elif not found:
        print("No goal.")
    else:
        rows = [
            (e["goal_id"], e["state"], e["due"] or "-", output.one_line(e["title"])) for e in found
        ]
        output.table(("id", "state", "due", "goal"), rows)
    return OK


def show(options: One) -> int:
    """Print one goal and its tasks."""
    found = _client(options).get(options.id)
    _tell(options, found)
    if not options.json:
        goal = found["goal"]
        if goal["description"]:
            print(boards.content(goal["description"]))
        for task in found["tasks"]:
            print(f"  {task['task_id']} {output.one_line(task['title'])} ({task['state']})")
        for said in goal["comments"]:
            text = output.one_line(said["text"], 200)
            print(f"  {output.when(said['at'])} {said['by']}: {text}")
    return OK


def history(options: One) -> int:
    """Print how a goal came about."""
    return boards.history(_client(options), options)


def create(options: Create) -> int:
    """Create a goal."""
    made = _client(options).post(
        title=options.title, description=options.description, due=options.due
    )
    return _tell(options, made)


def achieve(options: Move) -> int:
    """Say that it is achieved."""
    return _tell(options, _client(options).move(options, "achieve"))


def abandon(options: Move) -> int:
    """Say that it is given up."""
    return _tell(options, _client(options).move(options, "abandon"))


def reopen(options: Move) -> int:
    """Say that it is wanted after all, or again."""
    return _tell(options, _client(options).move(options, "reopen"))


def edit(options: Edit) -> int:
    """Change what is wanted."""
    changed = _client(options).edit(
        options.id,
        title=options.title,
        description=options.description,
        due=options.due,
        reason=options.reason,
    )
    return _tell(options, changed)


def comment(options: Comment) -> int:
    """Say something about it."""
    return _tell(options, _client(options).comment(options))


def _client(options: OfAgent) -> Client:
    return Client(options, "goals")


def _tell(options: Options, found: dict[str, Any]) -> int:
    if options.json:
        output.document(found)
        return OK
    goal = found["goal"]
    due = f", due {goal['due']}" if goal["due"] else ""
    print(f"{goal['goal_id']} {output.one_line(goal['title'])} ({goal['state']}{due})")
    return OK
