"""Facts about one run: a turn, a branch, a worker, a synthesis or a compaction, step by step.

Subject:  evt.{tenant}.{agent}.{adapter}.{conversation}.{turn|branch|worker|compaction}.{id}
          (`_` as the id of turns: a conversation has at most one open, so they share a subject)
          evt.{tenant}.{agent}._._.synthesis.{id}, which belongs to no conversation
Order:    run_started, steps in any number (a run_resumed where an owner was replaced), run_ended.
          A turn starts and ends on the channel stream, so here it has steps alone.
Writer:   services.channel, services.branch, services.worker, services.cortex,
          services.compactor: whoever owns the run
"""

from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.json import Decoder

from schemas.base import (
    Attempt,
    BodyRef,
    Content,
    Event,
    EventId,
    MemoryId,
    Milliseconds,
    Outcome,
    RunId,
    RunKind,
    Sha256,
    Tokens,
    Usd,
)
from schemas.spend import Shortage


class ToolCall(Struct, frozen=True, kw_only=True):
    """A tool call as the model asked for it."""

    id: str
    name: str
    arguments: str
    """JSON, possibly malformed: as the model wrote it."""


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one model call consumed."""

    input: Tokens = 0
    output: Tokens = 0
    cached: Tokens = 0
    """Part of `input` that the provider served from its prompt cache."""
    cost_usd: Usd | None = None
    """None when the price of the model is not known."""


class RunStarted(Event, tag="run_started"):
    """A process took the run and is its first owner."""

    run_id: RunId
    kind: RunKind
    owner: str
    """The process that owns it, for people and for fencing."""
    task: Content = ""
    """What to do; empty for a turn."""
    parent: RunId | None = None
    """The run that asked for it."""
    model: str = ""
    """The model asked for at the start, `provider/name`."""
    interactive: bool = False


class RunResumed(Event, tag="run_resumed"):
    """A process took over, from one that died or after a wait; earlier owners are fenced."""

    run_id: RunId
    owner: str
    attempt: Attempt


class ModelCalled(Event, tag="model_called"):
    """A request is about to be sent to a model."""

    run_id: RunId
    step: int
    """Counts the run's model calls from 1."""
    model: str
    prompt: Sha256
    """Hash of the system prompt, whose bytes are in the object store."""
    tools: Sha256
    """Hash of the tool list, likewise."""
    request: Sha256
    """Hash of the whole request, to prove a reconstruction of it."""
    context: EventId | None = None
    """Last event of the channel stream that the context was folded up to."""
    note: Content = ""
    """The volatile tail of the context: status and time, as shown to the model."""


class ModelReturned(Event, tag="model_returned"):
    """A model answered; this answer is never paid for twice."""

    run_id: RunId
    step: int
    model: str
    """The model that answered, which differs from the one called after a fallback."""
    text: Content = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_calls_body: BodyRef | None = None
    """The calls as a JSON list by reference, where they are too large for the event."""
    usage: Usage = Usage()
    finish: str = "stop"
    latency_ms: Milliseconds = 0
    first_chunk_ms: Milliseconds | None = None
    """How long its first words took; None where nobody listened to it being written."""


class ModelFailed(Event, tag="model_failed"):
    """A model call ended without an answer, after the port's own retries and fallbacks."""

    run_id: RunId
    step: int
    reason: Literal["unavailable", "refused", "overflow"]
    detail: str = ""


class CallRefused(Event, tag="call_refused"):
    """A budget has no room for the next model call, which is not made; the run ends with that."""

    run_id: RunId
    step: int
    """Which model call it would have been."""
    model: str
    shortage: Shortage
    context: EventId | None = None
    """Last event of the channel stream that the context was folded up to, where it is the run's
    first call."""


class ToolCalled(Event, tag="tool_called"):
    """A tool is about to run."""

    run_id: RunId
    call_id: str
    name: str


class ToolReturned(Event, tag="tool_returned"):
    """A tool call has its result, as the model will see it."""

    run_id: RunId
    call_id: str
    name: str
    status: Literal["ok", "error", "refused", "interrupted"] = "ok"
    """`interrupted`: cut short by a crash, outcome unknown; `refused`: never ran."""
    output: Content = ""
    full: BodyRef | None = None
    """The whole output, where `output` is a cut of it."""
    duration_ms: Milliseconds = 0
    recalled: tuple[MemoryId, ...] = ()
    """Memories that the output shows, best first."""


class StatusSet(Event, tag="status_set"):
    """The run said where it is, or how it came out."""

    run_id: RunId
    status: str
    outcome: Outcome | None = None
    """Set when the run considers itself done; `status` is then its result."""


class Noted(Event, tag="noted"):
    """The loop itself told the model something: a nudge, a warning, a limit."""

    run_id: RunId
    kind: Literal["nudge", "repair", "limit"]
    text: str


class InputReceived(Event, tag="input_received"):
    """An interactive run was given more to do."""

    run_id: RunId
    text: Content
    source: EventId
    """The channel event that carried it."""


class ContextTrimmed(Event, tag="context_trimmed"):
    """The oldest part of the run's own transcript is no longer shown to the model."""

    run_id: RunId
    dropped: int
    """How many entries of the transcript, counted from its first, are left out from now on."""


class RunWaiting(Event, tag="run_waiting"):
    """An interactive run gave a result and waits for input, owned by nobody."""

    run_id: RunId
    result: Content = ""


class RunEnded(Event, tag="run_ended"):
    """The run ended; only another run's events may follow on this subject."""

    run_id: RunId
    outcome: Outcome
    result: Content = ""
    reason: str = ""
    """Why, where the outcome alone does not say it."""


RunEvent: TypeAlias = (
    RunStarted
    | RunResumed
    | ModelCalled
    | ModelReturned
    | ModelFailed
    | CallRefused
    | ToolCalled
    | ToolReturned
    | StatusSet
    | Noted
    | InputReceived
    | ContextTrimmed
    | RunWaiting
    | RunEnded
)
RUN_EVENTS: Decoder[RunEvent] = Decoder(RunEvent)
