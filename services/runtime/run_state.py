"""One run as its own stream tells it: the transcript, what is open, how it ended. Pure."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.base import Content, EventId, Outcome, RunId, Sha256
from schemas.catalogue import AnyEvent
from schemas.run import (
    CallRefused,
    ContextTrimmed,
    InputReceived,
    ModelCalled,
    ModelFailed,
    ModelReturned,
    Noted,
    RunEnded,
    RunResumed,
    RunStarted,
    RunWaiting,
    StatusSet,
    ToolCall,
    ToolCalled,
    ToolReturned,
)
from services.runtime.event_log import Recorded

WINDOW: Final = 30  # tool calls that the loop guard looks back on


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the transcript."""

    role: Literal["assistant", "tool", "user"]
    text: Content
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """One tool call that has its result."""

    name: str
    arguments: str
    status: str
    output: Content


@dataclass(frozen=True, slots=True)
class Signal:
    """What the run itself said its outcome is."""

    outcome: Outcome
    text: str


class RunState(Struct, frozen=True):
    """The fold of one run."""

    run_id: RunId
    seq: int = 0
    """Last sequence of the subject: what the next append expects."""
    started: RunStarted | None = None
    started_at: int = 0
    """When it was started or last given input, UTC microseconds."""
    at: int = 0
    """When its last event was recorded, UTC microseconds."""
    owner: str = ""
    attempt: int = 0
    fruitless: int = 0
    """Attempts in a row, the current one included, of which no step has come."""
    holder: EventId | None = None
    """The event whose delivery the owner holds."""
    lines: tuple[Line, ...] = ()
    trimmed: int = 0
    """Entries of the context, from the oldest, that are no longer shown."""
    step: int = 0
    """Model calls so far; `calling` while the last one has no answer."""
    calling: bool = False
    answers: int = 0
    """Model calls that were answered."""
    context: EventId | None = None
    """What the context was folded up to, fixed by the first model call."""
    note: Content | None = None
    """The volatile tail shown with the first model call, and so with all of them."""
    prompt: Sha256 | None = None
    """Hash of the system prompt shown with the first model call, and so with all of them."""
    pending: tuple[ToolCall, ...] = ()
    """Calls of the last answer that have no result."""
    begun: frozenset[str] = frozenset()
    """Those among them that were begun: by us, or by an owner that died."""
    done: tuple[Done, ...] = ()
    """The last tool calls with their results, oldest first."""
    ok_tools: frozenset[str] = frozenset()
    """Tools that succeeded since the last model call."""
    nudges: int = 0
    """Reminders since a tool last ran."""
    failures: int = 0
    """Model calls that failed since one last succeeded."""
    failure: ModelFailed | None = None
    refusal: CallRefused | None = None
    """The model call that no budget had room for: the last thing that a run does."""
    trims: int = 0
    """Times that the context was cut because of overflow since a call last succeeded."""
    status: str = ""
    signal: Signal | None = None
    sources: frozenset[EventId] = frozenset()
    """Channel events whose input was received."""
    queued: tuple[Line, ...] = ()
    """Input that came while an answer or the results of its tool calls were awaited."""
    fresh_input: bool = False
    """Input came that no model call has shown."""
    waiting: bool = False
    last_text: Content = ""
    """What the model last said in plain words."""
    ended: RunEnded | None = None
    ended_seq: int = 0
    waiting_seq: int = 0
    waiting_result: Content = ""
    waits: int = 0
    """How often it has waited."""
    last: EventId | None = None
    """The event by which it last ended or began to wait."""


def evolve(  # noqa: C901, PLR0911, PLR0912 - a case for every event
    state: RunState, recorded: Recorded
) -> RunState:
    """Fold one event of the run's subject; events of other runs only move the position."""
    state = replace(state, seq=recorded.seq)
    event, at = recorded.event, recorded.envelope.at
    if event is None or getattr(event, "run_id", None) != state.run_id:
        return state
    fruitless = _fruitless(state, event)
    state = replace(state, at=at, started_at=state.started_at or at, fruitless=fruitless)
    match event:
        case RunStarted():
            return replace(
                state, started=event, owner=event.owner, attempt=1, holder=recorded.envelope.cause
            )
        case RunResumed(owner=owner, attempt=attempt):
            holder = recorded.envelope.cause
            state = replace(state, owner=owner, attempt=attempt, holder=holder, waiting=False)
            return replace(state, failures=0, failure=None)  # a new owner tries afresh
        case ModelCalled(step=step, context=context, note=note, prompt=prompt):
            return replace(
                state,
                step=step,
                calling=True,
                context=state.context or context,
                note=note if state.note is None else state.note,
                prompt=state.prompt or prompt,
                ok_tools=frozenset(),
                fresh_input=bool(state.queued),
                signal=None,  # what came since is why the model is asked again
            )
        case ModelReturned(text=text, tool_calls=calls):
            line = Line("assistant", text, calls)
            return _unqueue(
                state,
                calling=False,
                answers=state.answers + 1,
                lines=(*state.lines, line),
                pending=calls,
                begun=frozenset(),
                failures=0,
                failure=None,
                trims=0,
                last_text=text or state.last_text,
            )
        case ModelFailed():
            return _unqueue(state, calling=False, failures=state.failures + 1, failure=event)
        case CallRefused(context=context):
            return replace(state, refusal=event, context=state.context or context)
        case ToolCalled(call_id=call_id):
            return replace(state, begun=state.begun | {call_id})
        case ToolReturned():
            return _returned(state, event)
        case StatusSet(status=status, outcome=outcome):
            signal = Signal(outcome, status) if outcome else state.signal
            return replace(state, status=status, signal=signal)
        case Noted(kind=kind, text=text):
            nudges = state.nudges + (kind == "nudge")
            return replace(state, lines=(*state.lines, Line("user", text)), nudges=nudges)
        case InputReceived(text=text, source=source):
            queued = (*state.queued, Line("user", text))
            return _unqueue(
                state,
                queued=queued,
                sources=state.sources | {source},
                fresh_input=True,
                waiting=False,
                started_at=at,
                signal=None,
                nudges=0,
            )
        case ContextTrimmed(dropped=dropped):
            return replace(state, trimmed=dropped, trims=state.trims + 1, failure=None)
        case RunWaiting(result=result):
            return replace(
                state,
                waiting=True,
                waiting_seq=recorded.seq,
                waiting_result=result,
                waits=state.waits + 1,
                last=recorded.envelope.id,
            )
        case RunEnded():
            return replace(
                state,
                ended=event,
                waiting=False,
                ended_seq=recorded.seq,
                last=recorded.envelope.id,
            )
        case _:
            return state


def _fruitless(state: RunState, event: AnyEvent) -> int:
    match event:
        case RunStarted() | RunResumed():
            return state.fruitless + 1
        case ModelCalled() | ToolCalled():  # begun, and nothing came of it yet
            return state.fruitless
        case _:
            return 0


def _unqueue(state: RunState, **changes: Any) -> RunState:  # noqa: ANN401 - fields of the state
    """Change the state; input that came amid a step is shown behind what the step gave."""
    state = replace(state, **changes)
    if state.calling or state.pending or not state.queued:
        return state
    return replace(state, lines=(*state.lines, *state.queued), queued=())


def _returned(state: RunState, event: ToolReturned) -> RunState:
    call = next((call for call in state.pending if call.id == event.call_id), None)
    if call is None:
        return state
    done = Done(event.name, call.arguments, event.status, event.output)
    succeeded = event.status == "ok"
    return _unqueue(
        state,
        lines=(*state.lines, Line("tool", event.output, call_id=event.call_id)),
        pending=tuple(other for other in state.pending if other.id != event.call_id),
        done=(*state.done, done)[-WINDOW:],
        ok_tools=state.ok_tools | ({event.name} if succeeded else frozenset()),
        nudges=0,
    )
