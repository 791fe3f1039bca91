"""Facts about the goals of an agent: what its tasks are for. Only people close one.

Subject:  evt.{tenant}.{agent}._._.goal.{id}, where the id is G1, G2 and so on, per agent
Order:    goal_created once and first; goal_closed and goal_reopened in turn; the others at any time
Writer:   services.api for people, services.branch (comments of agents)
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta
from msgspec.json import Decoder

from schemas.base import Content, Event, GoalId

Day = Annotated[
    str, Meta(pattern=r"^(\d{4}-\d\d-\d\d)?$", description="YYYY-MM-DD; empty: no day.")
]
GoalState = Literal["open", "achieved", "abandoned"]


class GoalCreated(Event, tag="goal_created"):
    """A person wants something to be so."""

    goal_id: GoalId
    title: str
    description: Content = ""
    due: Day = ""


class GoalEdited(Event, tag="goal_edited"):
    """What is wanted was changed; a field that is None is as it was."""

    goal_id: GoalId
    title: str | None = None
    description: Content | None = None
    due: Day | None = None
    reason: str = ""


class GoalCommented(Event, tag="goal_commented"):
    """Somebody said something about it."""

    goal_id: GoalId
    text: str


class GoalClosed(Event, tag="goal_closed"):
    """A person, the envelope's actor, said that it is achieved or given up."""

    goal_id: GoalId
    state: Literal["achieved", "abandoned"]
    reason: str = ""


class GoalReopened(Event, tag="goal_reopened"):
    """A person wants it after all, or again."""

    goal_id: GoalId
    reason: str = ""


GoalsEvent: TypeAlias = GoalCreated | GoalEdited | GoalCommented | GoalClosed | GoalReopened
GOALS_EVENTS: Decoder[GoalsEvent] = Decoder(GoalsEvent)
