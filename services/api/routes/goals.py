"""Goals of an agent. Whoever comes through here is a person: only people close one.

GET   /agents/{agent}/goals                      which there are, from the read model
POST  /agents/{agent}/goals                      create one
GET   /agents/{agent}/goals/{goal}               one as it is with its tasks, from the log
GET   /agents/{agent}/goals/{goal}/history       its revisions, from the read model
POST  /agents/{agent}/goals/{goal}/state         achieve, abandon, reopen
POST  /agents/{agent}/goals/{goal}/edit          change what is wanted
POST  /agents/{agent}/goals/{goal}/comments      say something about it
"""

from typing import Annotated, Literal

from litestar import Router, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Struct

from projections import goals
from projections._history import NEWEST
from projections.goals import GoalRow
from schemas.goals import Day
from schemas.subjects import matching
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
from services.runtime.tasks.desk import Desk, Owner, comment_of, limited, title_of
from services.runtime.tasks.goal import ChangeGoal, EditGoal, Goal, GoalCommand, GoalVerb, possible
from services.runtime.tasks.task import Say, Task


class GoalWanted(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new goal."""

    title: str
    description: str = ""
    due: Day = ""


class GoalMove(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Close it, or open it again."""

    move: Literal["achieve", "abandon", "reopen"]
    reason: Reason = ""


class GoalChange(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wanted instead; what is left out stays."""

    title: str | None = None
    description: str | None = None
    due: Day | None = None
    reason: Reason = ""


class GoalPage(Struct, frozen=True, kw_only=True):
    """Goals, last changed first."""

    items: list[GoalRow]
    next: int | None
    """Pass it as `before` for the following page; None: there is none."""


class GoalDetail(Struct, frozen=True, kw_only=True):
    """One goal, its tasks, and what may be done to it."""

    goal: Goal
    tasks: list[Task]
    possible: tuple[GoalVerb, ...]


def _detail(board: Board, goal: Goal) -> GoalDetail:
    mine = [task for task in board.tasks.values() if task.goal == goal.goal_id]
    return GoalDetail(goal=goal, tasks=mine, possible=possible(goal, "person"))


@get("/", summary="List an agent's goals", responses=failures(404, 422, 503))
async def list_goals(
    owner: Whose,
    process: Parts,
    all: Annotated[  # noqa: A002 - as on the command line
        bool, QueryParameter(description="Closed ones too.")
    ] = False,
    before: Before = NEWEST,
    limit: Limit = 50,
) -> GoalPage:
    """Return goals, last changed first, with what was changed before this was asked."""
    await reading.caught_up(process, goals.NAME, matching(*owner, entity="goal"))
    async with reading.of_tenant(process.pool, owner.tenant) as conn:
        items = await goals.listing(conn, *owner, closed=all, before=before, limit=limit)
    return GoalPage(items=items, next=following([it.seq for it in items], limit))


@post("/", status_code=201, summary="Create a goal", responses=CHANGED)
async def create_goal(data: JSONBody[GoalWanted], owner: Whose, desk: AllTasks) -> GoalDetail:
    """Create a goal."""
    goal = await desk.create_goal(owner, data.title, data.description, data.due, author_of(data))
    return _detail(await desk.board(owner), goal)


@get("/{goal:str}", summary="See one goal", responses=failures(404, 422, 503))
async def get_goal(goal: FromPath[str], owner: Whose, desk: AllTasks) -> GoalDetail:
    """Return a goal with its tasks, from the log itself."""
    board = await desk.board(owner)
    return _detail(board, board.goal(goal))


@get("/{goal:str}/history", summary="See how a goal came about", responses=failures(404, 422, 503))
async def get_goal_history(
    goal: FromPath[str],
    owner: Whose,
    desk: AllTasks,
    process: Parts,
    before: Before = NEWEST,
    limit: Limit = 50,
) -> RevisionPage:
    """Return every change of a goal, newest first: what, by whom, and why."""
    known = (await desk.board(owner)).goal(goal)
    await reading.caught_up(process, goals.NAME, matching(*owner, entity="goal"))
    return await history(process, owner, "goal_revisions", known.goal_id, (before, limit))


async def _changed(
    desk: Desk, owner: Owner, name: str, command: GoalCommand, body: Body
) -> GoalDetail:
    goal = await desk.change_goal(owner, name, command, author_of(body))
    return _detail(await desk.board(owner), goal)


@post("/{goal:str}/state", status_code=200, summary="Close or reopen a goal", responses=CHANGED)
async def move_goal(
    goal: FromPath[str], data: JSONBody[GoalMove], owner: Whose, desk: AllTasks
) -> GoalDetail:
    """Say that it is achieved or given up, or wanted again; the author is recorded."""
    command = ChangeGoal(data.move, limited(data.reason, desks.TEXT, "a reason"))
    return await _changed(desk, owner, goal, command, data)


@post("/{goal:str}/edit", status_code=200, summary="Change a goal", responses=CHANGED)
async def edit_goal(
    goal: FromPath[str], data: JSONBody[GoalChange], owner: Whose, desk: AllTasks
) -> GoalDetail:
    """Change what is wanted."""
    command = EditGoal(
        title=None if data.title is None else title_of(data.title),
        description=None if data.description is None else await desk.content(data.description),
        due=data.due,
        reason=limited(data.reason, desks.TEXT, "a reason"),
    )
    return await _changed(desk, owner, goal, command, data)


@post("/{goal:str}/comments", status_code=200, summary="Comment on a goal", responses=CHANGED)
async def comment_goal(
    goal: FromPath[str], data: JSONBody[Remark], owner: Whose, desk: AllTasks
) -> GoalDetail:
    """Say something about a goal."""
    return await _changed(desk, owner, goal, Say(comment_of(data.text)), data)


def router(desk: Desk) -> Router:
    """Return the routes."""
    return router_of(
        "goals",
        desk,
        *(list_goals, create_goal, get_goal, get_goal_history),
        *(move_goal, edit_goal, comment_goal),
    )
