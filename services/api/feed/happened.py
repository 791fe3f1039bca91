"""What happens in a conversation beside what is said: turns, runs and their words, checkpoints."""

from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from schemas.base import EventId, RunId
from schemas.catalogue import AnyEvent
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    CheckpointCut,
    CompactionFailed,
    CompactionRequested,
    ConversationForked,
    InputRouted,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.envelope import tag_of
from schemas.run import RunStarted, StatusSet
from services.runtime.conversation import preview
from services.runtime.event_log import Recorded

Shown: TypeAlias = (
    TurnStarted
    | TurnResumed
    | TurnCompleted
    | TurnFailed
    | BranchRequested
    | BranchConcluded
    | WorkerRequested
    | WorkerReported
    | WorkerConcluded
    | InputRouted
    | CancelRequested
    | RetryRequested
    | CompactionRequested
    | CheckpointCut
    | CompactionFailed
    | ConversationForked
    | RunStarted
    | StatusSet
)
"""Events that are told of; each under its own tag."""

NAMES: Final = {
    "message_received": "message",
    "reply_sent": "reply",
    "result_delivered": "reply",
    "reaction_added": "reaction",
    "file_sent": "file",
}
"""What is said goes by shorter names than its tags."""


class Happened(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a turn, a branch or a worker; what does not apply is left out."""

    seq: int
    at: int
    """UTC microseconds since 1970."""
    event_id: EventId
    turn_id: RunId | None = None
    run_id: RunId | None = None
    text: str = ""
    """The beginning of a task, a result, an input or a status; whose history a fork shares."""
    outcome: str | None = None
    reason: str = ""
    attempt: int | None = None
    interactive: bool = False
    delegated_to: RunId | None = None


def name_of(event: AnyEvent) -> str:
    """Return the name under which an event is told of."""
    tag = tag_of(event)
    return NAMES.get(tag, tag)


def of_event(  # noqa: C901, PLR0911, PLR0912 - a case for every event
    recorded: Recorded, event: Shown
) -> Happened:
    """Return what an event tells."""
    envelope = recorded.envelope
    bare = Happened(seq=recorded.seq, at=envelope.at, event_id=envelope.id)
    match event:
        case TurnStarted(turn_id=turn_id) | RetryRequested(turn_id=turn_id):
            return replace(bare, turn_id=turn_id)
        case TurnResumed(turn_id=turn_id, attempt=attempt):
            return replace(bare, turn_id=turn_id, attempt=attempt)
        case TurnCompleted(turn_id=turn_id, outcome=outcome, reason=reason):
            return replace(bare, turn_id=turn_id, outcome=outcome, reason=preview(reason))
        case TurnFailed(turn_id=turn_id, reason=reason, attempts=attempts):
            return replace(bare, turn_id=turn_id, reason=preview(reason), attempt=attempts)
        case BranchRequested(run_id=run_id, task=text):
            return replace(bare, run_id=run_id, text=preview(text))
        case WorkerRequested(run_id=run_id, task=text, interactive=interactive):
            return replace(bare, run_id=run_id, text=preview(text), interactive=interactive)
        case RunStarted(run_id=run_id, task=text, interactive=interactive):
            return replace(bare, run_id=run_id, text=preview(text), interactive=interactive)
        case StatusSet(run_id=run_id, status=text, outcome=result):
            return replace(bare, run_id=run_id, text=preview(text), outcome=result)
        case InputRouted(run_id=run_id, text=text) | WorkerReported(run_id=run_id, result=text):
            return replace(bare, run_id=run_id, text=preview(text))
        case CancelRequested(run_id=run_id, reason=reason):
            return replace(bare, run_id=run_id, reason=preview(reason))
        case WorkerConcluded(run_id=run_id, outcome=result, result=text):
            return replace(bare, run_id=run_id, text=preview(text), outcome=result)
        case BranchConcluded(run_id=run_id, outcome=result, conclusion=text):
            told = replace(bare, run_id=run_id, text=preview(text), outcome=result)
            return replace(told, delegated_to=event.delegated_to)
        case ConversationForked(adapter=adapter, conversation=name):
            return replace(bare, text=f"{adapter}/{name}")
        case CompactionRequested(run_id=run_id, kind=text):
            return replace(bare, run_id=run_id, text=text)
        case CheckpointCut(run_id=by, title=text):
            return replace(bare, run_id=by, text=text)
        case CompactionFailed(run_id=run_id, outcome=result, reason=reason):
            return replace(bare, run_id=run_id, outcome=result, reason=preview(reason))
