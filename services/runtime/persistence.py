"""When a conversation is looked through for what is worth keeping. Pure.

Consumes:  what people say, what turns and workers finish, persistence branches and their ends
Emits:     the occasion of the next persistence branch, or none
Never:     awaits, reads a clock, mints an id; takes time alone for an occasion
"""

from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from schemas.base import EventId, Microseconds, RunId
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    MessageReceived,
    TurnCompleted,
    WorkerConcluded,
)
from services.runtime.config import PersistenceSettings
from services.runtime.event_log import Recorded

SECOND: Final = 1_000_000  # microseconds
MANY_CALLS: Final = 10  # tool calls of one turn, from which on it may have something to teach
TASK: Final = (
    "Look through what was said since the last time, save what is worth keeping, "
    "and give the receipt."
)
LESSON: Final = (
    " Work was finished meanwhile: save as well what it taught about how such work is done here."
)

Occasion: TypeAlias = Literal["messages", "reflection", "idle"]
"""Messages: many came. Reflection: work was finished. Idle: nobody has said anything since."""


class Looking(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The persistence branch that is at work."""

    run_id: RunId
    at: Microseconds
    seq: int
    """Sequence of its request: everything before it is looked through."""


class Unsaved(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What nobody has looked through yet."""

    since: int = 0
    """Sequence up to which everything was looked through, and a receipt given for it."""
    messages: int = 0
    """Messages of people since a branch was last requested, whatever came of that one."""
    said: EventId | None = None
    """The newest of them."""
    said_at: Microseconds = 0
    lesson: bool = False
    """Whether, since then, a worker succeeded or a turn called many tools."""
    requested: EventId | None = None
    """The last request of such a branch: there is at most one that follows it."""
    reflected_at: Microseconds = 0
    """When the last one was requested that had a lesson to look at."""
    branch: Looking | None = None

    @property
    def task(self) -> str:
        """What a branch that is requested now has to do."""
        return TASK + LESSON if self.lesson else TASK


def evolve(unsaved: Unsaved, recorded: Recorded) -> Unsaved:
    """Fold one event of a conversation; one that a conversation takes no note of must not come."""
    id_, at = recorded.envelope.id, recorded.envelope.at
    match recorded.event:
        case MessageReceived():
            return replace(unsaved, messages=unsaved.messages + 1, said=id_, said_at=at)
        case WorkerConcluded(outcome="succeeded"):
            return replace(unsaved, lesson=True)
        case TurnCompleted(tool_calls=calls) if calls >= MANY_CALLS:
            return replace(unsaved, lesson=True)
        case BranchRequested(purpose="persistence", run_id=run_id):
            return replace(
                unsaved,
                messages=0,
                lesson=False,
                requested=id_,
                reflected_at=at if unsaved.lesson else unsaved.reflected_at,
                branch=Looking(run_id=run_id, at=at, seq=recorded.seq),
            )
        case BranchConcluded(run_id=run_id, outcome=outcome):
            branch = unsaved.branch
            if branch is None or branch.run_id != run_id:
                return unsaved
            since = branch.seq if outcome == "succeeded" else unsaved.since
            return replace(unsaved, since=since, branch=None)
        case _:
            return unsaved


def decide(
    unsaved: Unsaved, settings: PersistenceSettings, *, now: Microseconds
) -> Occasion | None:
    """Return why a persistence branch is due, or None.

    One at a time, and never one without so many new messages of people as the settings ask for:
    the passage of time alone is no occasion. What one that failed had to look through is looked
    through by the next.

    Args:
        unsaved: The fold of the conversation.
        settings: How often.
        now: UTC microseconds.
    """
    if unsaved.branch is not None or unsaved.messages < settings.min_messages:
        return None
    silence = now - unsaved.said_at
    if silence > settings.max_age_s * SECOND:
        return None
    if unsaved.messages >= settings.messages:
        return "messages"
    if unsaved.lesson and now - unsaved.reflected_at >= settings.reflection_cooldown_s * SECOND:
        return "reflection"
    return "idle" if silence >= settings.idle_s * SECOND else None
