"""Facts about one conversation: everything that a turn must be serialised with.

Subject:  evt.{tenant}.{agent}.{adapter}.{conversation}.channel._
Order:    the conversation's own; at most one turn is open at any point of it;
          conversation_forked first, where the conversation is a fork
Writer:   adapters and api (messages, retries), services.channel (turns and their effects),
          services.branch and services.worker (what came back; branches of persistence),
          services.compactor (checkpoints), services.scheduler (results of jobs), api (forks)
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.json import Decoder

from schemas.base import (
    Attempt,
    BodyRef,
    Content,
    Event,
    EventId,
    Microseconds,
    Outcome,
    RunId,
    Tokens,
)

CheckpointKind = Literal["interval", "pressure", "emergency", "rollup"]


class Person(Struct, frozen=True, kw_only=True):
    """Someone on a platform."""

    id: str
    """Unique on the platform, prefixed with it: `portal:ana`."""
    name: str


class Attachment(Struct, frozen=True, kw_only=True):
    """A file that came with a message."""

    name: str
    body: BodyRef


class MessageReceived(Event, tag="message_received"):
    """A person said something."""

    message_id: str
    """The platform's own id; the same one twice is one message."""
    author: Person
    text: Content
    group: bool = False
    """True where several people talk: quick successions are then answered together."""
    reply_to: str | None = None
    """Platform id of the message that this one answers."""
    attachments: tuple[Attachment, ...] = ()
    private: bool = False
    """True in a group that only its members can read: what is remembered there stays there."""


class TurnStarted(Event, tag="turn_started"):
    """A replica took everything unhandled into a turn and owns the conversation until it ends."""

    turn_id: RunId
    owner: str
    occurrence: EventId | None = None
    """The occurrence of a job that the turn is for; None where people talk."""


class TurnResumed(Event, tag="turn_resumed"):
    """Another replica took over an open turn; the earlier owner is fenced."""

    turn_id: RunId
    owner: str
    attempt: Attempt


class ReplySent(Event, tag="reply_sent"):
    """The agent answered; adapters deliver it."""

    turn_id: RunId
    text: Content
    reply_to: str | None = None


class ReactionAdded(Event, tag="reaction_added"):
    """The agent reacted to a message."""

    turn_id: RunId
    emoji: str
    message_id: str
    """Platform id of the message."""


class FileSent(Event, tag="file_sent"):
    """The agent sent a file; adapters deliver it."""

    turn_id: RunId
    name: str
    body: BodyRef
    caption: str = ""


class BranchRequested(Event, tag="branch_requested"):
    """A line of thought on a fork of the conversation: a turn asked for it, or it was due."""

    run_id: RunId
    task: Content
    forked_at: EventId
    """Last channel event that the branch sees; nothing is copied."""
    purpose: Literal["thought", "persistence"] = "thought"
    """Persistence: it saves what is worth keeping, by itself and silently; nobody is told."""


class BranchConcluded(Event, tag="branch_concluded"):
    """A branch ended and hands its conclusion back."""

    run_id: RunId
    outcome: Outcome
    conclusion: Content
    delegated_to: RunId | None = None
    """The worker that goes on with it; its result will follow, so nobody need be told of this."""


class WorkerRequested(Event, tag="worker_requested"):
    """A turn or a branch handed a task to a new worker."""

    run_id: RunId
    task: Content
    interactive: bool = False
    """An interactive worker waits for more input after each result."""
    forked_at: EventId | None = None
    """Last channel event that the worker sees, or None when it sees its task alone."""
    parent: RunId | None = None
    """The turn or the branch that asked."""


class WorkerReported(Event, tag="worker_reported"):
    """An interactive worker gave a result and waits for input."""

    run_id: RunId
    result: Content


class InputRouted(Event, tag="input_routed"):
    """A turn passed something on to a worker."""

    run_id: RunId
    text: Content


class CancelRequested(Event, tag="cancel_requested"):
    """Someone asked for a branch or a worker to stop."""

    run_id: RunId
    reason: str = ""


class WorkerConcluded(Event, tag="worker_concluded"):
    """A worker ended and hands its result back."""

    run_id: RunId
    outcome: Outcome
    result: Content


class TurnCompleted(Event, tag="turn_completed"):
    """The turn ended well."""

    turn_id: RunId
    handled: tuple[EventId, ...]
    """The messages and results that it answered, in stream order."""
    outcome: Literal["replied", "skipped", "silent"] = "replied"
    """Skipped: the agent chose silence. Silent: it delegated or had nothing to say."""
    reason: str = ""
    tool_calls: int = 0
    """How many tools the turn called; many mean that there may be something to learn from it."""


class TurnFailed(Event, tag="turn_failed"):
    """The turn was given up; it is on the dead-letter list and can be retried."""

    turn_id: RunId
    handled: tuple[EventId, ...]
    reason: str
    attempts: Attempt = 1


class RetryRequested(Event, tag="retry_requested"):
    """A person asked for a failed turn to be tried again: what it had handled is unhandled."""

    turn_id: RunId


class CompactionRequested(Event, tag="compaction_requested"):
    """The oldest part of the history is to be summarised, beside the conversation."""

    run_id: RunId
    after: EventId | None
    """Last event that the checkpoint before covers; None at the beginning of the conversation."""
    until: EventId
    """Last event that the checkpoint will cover, in the order in which a model is shown them."""
    kind: CheckpointKind = "interval"
    """Interval: there are many entries. Pressure: the model's window fills. Rollup: there are many
    checkpoints. (Emergency: it is full; then nothing is requested.)"""
    sources: tuple[EventId, ...] = ()
    """Rollups alone: the checkpoints that become one, oldest first."""
    level: Annotated[int, Meta(ge=0)] = 0
    """0 for a part of the history; one more than that of its sources for a rollup."""


class CheckpointCut(Event, tag="checkpoint_cut"):
    """A summary stands for a part of the history from now on; the part itself stays in the log.

    Checkpoints are appended, never changed. Each begins where the one before ends.
    """

    after: EventId | None
    """Last event that the checkpoint before covers; None at the beginning of the conversation."""
    until: EventId
    """Last event that it covers, in the order in which a model is shown them."""
    title: Annotated[str, Meta(max_length=80)]
    summary: Content
    kind: CheckpointKind = "interval"
    """As requested; emergency: without a model, because the window was full."""
    level: Annotated[int, Meta(ge=0)] = 0
    """0 for a part of the history; one more than that of its sources for a rollup."""
    sources: tuple[EventId, ...] = ()
    """Rollups alone: the checkpoints that it stands for, oldest first."""
    entries: Annotated[int, Meta(ge=0)] = 0
    """How many entries of the history it covers."""
    tokens: Tokens = 0
    """About how many tokens these had."""
    first_at: Microseconds = 0
    """When the oldest of them was recorded."""
    last_at: Microseconds = 0
    """When the newest of them was recorded."""
    run_id: RunId | None = None
    """The compaction that made it; None where none did."""
    model: str = ""
    """The model that wrote the summary; empty where none did."""


class CompactionFailed(Event, tag="compaction_failed"):
    """A compaction ended without a checkpoint; the conversation is as it was."""

    run_id: RunId
    outcome: Outcome = "failed"
    """Cancelled: another checkpoint covered its part meanwhile. It is no failure then."""
    reason: str = ""


class ConversationForked(Event, tag="conversation_forked"):
    """The conversation begins as a fork: what another one was up to an event is its own history.

    Nothing is copied: whoever reads the fork reads the other one's events first. What was open or
    at work there is not so here.
    """

    adapter: str
    """Of the conversation whose own event `at` is; tenant and agent are the fork's."""
    conversation: str
    at: EventId
    """The last event that is shared."""
    handled: tuple[EventId, ...] = ()
    """What the turn that is open at that point had answered, though it had not ended."""
    model: str | None = None
    """Asked by its turns, branches and workers; None for what is asked in the other one."""
    prompt: Content | None = None
    """Stands for the agent's instructions; None for those that hold in the other one."""


class ResultDelivered(Event, tag="result_delivered"):
    """A job of the agent had something to say here; adapters deliver it as they do replies."""

    job: str
    """Name of the job."""
    occurrence: EventId
    text: Content


ChannelEvent: TypeAlias = (
    MessageReceived
    | TurnStarted
    | TurnResumed
    | ReplySent
    | ReactionAdded
    | FileSent
    | BranchRequested
    | BranchConcluded
    | WorkerRequested
    | WorkerReported
    | InputRouted
    | CancelRequested
    | WorkerConcluded
    | TurnCompleted
    | TurnFailed
    | RetryRequested
    | CompactionRequested
    | CheckpointCut
    | CompactionFailed
    | ResultDelivered
    | ConversationForked
)
CHANNEL_EVENTS: Decoder[ChannelEvent] = Decoder(ChannelEvent)
