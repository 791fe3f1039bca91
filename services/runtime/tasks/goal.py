"""One goal: its fold, and what may be done to it by whom. Pure.

Consumes:  the events of schemas.goals on one goal's subject
Emits:     the next one, or a refusal that names what is possible instead
Never:     lets an agent close a goal
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

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
from services.runtime.event_log import Recorded
from services.runtime.tasks.task import COMMENTS, By, Comment, NotPossible, Say

GoalVerb = Literal["achieve", "abandon", "reopen", "edit", "comment"]
EITHER: Final[frozenset[bool]] = frozenset({True, False})
ALLOWED: Final[dict[GoalVerb, frozenset[bool]]] = {
    "achieve": frozenset({True}),
    "abandon": frozenset({True}),
    "reopen": frozenset({False}),
    "edit": frozenset({True}),
    "comment": EITHER,
}
"""What a person may do, by whether the goal is open. An agent may comment, and nothing else."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """The fold of a goal's stream; times in UTC microseconds."""

    goal_id: GoalId
    title: str
    state: GoalState = "open"
    description: Content
    due: str
    """YYYY-MM-DD, or empty."""
    created_by: str
    created_at: int
    changed_at: int
    closed_by: str | None = None
    comments: tuple[Comment, ...] = ()
    revision: int = 1
    seq: int
    """Last sequence of its stream."""


@dataclass(frozen=True, slots=True)
class ChangeGoal:
    """Close it, or open it again."""

    verb: Literal["achieve", "abandon", "reopen"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EditGoal:
    """Change what is wanted; None leaves a field as it is."""

    title: str | None = None
    description: Content | None = None
    due: str | None = None
    reason: str = ""


GoalCommand: TypeAlias = ChangeGoal | EditGoal | Say


def possible(goal: Goal, by: By) -> tuple[GoalVerb, ...]:
    """Return what may be done to a goal now."""
    if by == "agent":
        return ("comment",)
    return tuple(verb for verb, states in ALLOWED.items() if (goal.state == "open") in states)


def verb_of(command: GoalCommand) -> GoalVerb:
    """Return what the command is called."""
    match command:
        case ChangeGoal(verb=verb):
            return verb
        case EditGoal():
            return "edit"
        case Say():
            return "comment"


def decide(goal: Goal, command: GoalCommand, *, by: By) -> GoalsEvent:
    """Return what happens by a command.

    Raises:
        NotPossible: says what is possible instead.
    """
    verb = verb_of(command)
    if verb not in (verbs := possible(goal, by)):
        who = "" if by == "person" else "for an agent "
        raise NotPossible(
            f"{goal.goal_id} is {goal.state}: {who}`{verb}` is not possible, "
            f"but: {', '.join(verbs)}"
        )
    match command:
        case ChangeGoal(verb="reopen", reason=reason):
            return GoalReopened(goal_id=goal.goal_id, reason=reason)
        case ChangeGoal(verb=verb_, reason=reason):
            state: Literal["achieved", "abandoned"]
            state = "achieved" if verb_ == "achieve" else "abandoned"
            return GoalClosed(goal_id=goal.goal_id, state=state, reason=reason)
        case EditGoal():
            return _edit(goal, command)
        case Say(text=text):
            return GoalCommented(goal_id=goal.goal_id, text=text)


def _edit(goal: Goal, command: EditGoal) -> GoalEdited:
    title = None if command.title == goal.title else command.title
    description = None if command.description == goal.description else command.description
    due = None if command.due == goal.due else command.due
    if title is None and description is None and due is None:
        raise NotPossible(f"{goal.goal_id} is like that already: nothing would change")
    return GoalEdited(
        goal_id=goal.goal_id,
        title=title,
        description=description,
        due=due,
        reason=command.reason,
    )


def evolve(goal: Goal | None, recorded: Recorded) -> Goal | None:
    """Fold one event of the goal's stream; None before it is created."""
    event, at, actor = recorded.event, recorded.envelope.at, recorded.envelope.actor
    if not isinstance(event, GoalsEvent):
        return goal if goal is None else replace(goal, seq=recorded.seq)
    if goal is None:
        if not isinstance(event, GoalCreated):
            return None
        return Goal(
            goal_id=event.goal_id,
            title=event.title,
            description=event.description,
            due=event.due,
            created_by=actor,
            created_at=at,
            changed_at=at,
            seq=recorded.seq,
        )
    changed = _changed(goal, event, actor=actor, at=at)
    return replace(changed, revision=goal.revision + 1, changed_at=at, seq=recorded.seq)


def _changed(goal: Goal, event: GoalsEvent, *, actor: str, at: int) -> Goal:
    match event:
        case GoalEdited():
            return replace(
                goal,
                title=goal.title if event.title is None else event.title,
                description=goal.description if event.description is None else event.description,
                due=goal.due if event.due is None else event.due,
            )
        case GoalCommented(text=text):
            comment = Comment(at=at, by=actor, text=text)
            return replace(goal, comments=(*goal.comments, comment)[-COMMENTS:])
        case GoalClosed(state=state):
            return replace(goal, state=state, closed_by=actor)
        case GoalReopened():
            return replace(goal, state="open", closed_by=None)
        case GoalCreated():
            return goal
