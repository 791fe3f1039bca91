"""What a run does next. Pure: the same state always gives the same answer, live or in a replay.

Consumes:  the fold of a run's stream
Emits:     the next step: a model call, a tool call, a refusal, a reminder, a cut, an end
Never:     awaits, reads a clock, mints an id
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from schemas.base import Content, Outcome, RunKind
from schemas.run import ModelFailed, ToolCall
from services.runtime.budgets.wording import told
from services.runtime.loop_guard import Thresholds, judge
from services.runtime.run_state import RunState

MICROSECONDS: Final = 1_000_000
OVERFLOW_CUTS: Final = 2  # how often an overflowing context is cut before the run gives up
REMINDER: Final = (
    "[nudge] You ended without a tool call and without an outcome. Go on with the task, or call "
    "set_status with kind `outcome` when it is done, blocked or impossible."
)


@dataclass(frozen=True, slots=True)
class Profile:
    """How runs of one kind behave."""

    kind: RunKind
    max_calls: int
    """Model calls that are answered, in all."""
    guard: Thresholds
    total_s: float
    """Wall clock from the start, or from the last input that an interactive run was given."""
    segment_calls: int = 0
    """Model calls of a segment, between which the context is looked at; 0 for no segments."""
    ending_tools: frozenset[str] = frozenset()
    """When one of these succeeded, the run is over as soon as no call is pending."""
    text_ends: bool = True
    """Whether an answer without tool calls ends the run; otherwise it is reminded."""
    nudges: int = 0
    failures: int = 0
    """Model calls that may fail in a row before the run does."""
    reminder: str = REMINDER
    """What a nudge says."""


@dataclass(frozen=True, slots=True)
class CallModel:
    """Ask the model."""

    step: int
    after_failures: int = 0
    """How many calls in a row have failed before this one."""


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a tool call."""

    call: ToolCall
    interrupted: bool
    """It was begun before and has no result: an owner died in it."""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class RefuseTool:
    """Answer a tool call without running it."""

    call: ToolCall
    reason: str


@dataclass(frozen=True, slots=True)
class Nudge:
    """Tell the model something and ask again."""

    text: str


@dataclass(frozen=True, slots=True)
class CutContext:
    """Leave out the older half of the context: it did not fit."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the run."""

    outcome: Outcome
    result: Content = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Give a result and wait for input."""

    result: Content


Next: TypeAlias = CallModel | RunTool | RefuseTool | Nudge | CutContext | Finish | Wait


def decide(  # noqa: PLR0911 - a case for everything that can be next
    state: RunState, profile: Profile, *, now: int
) -> Next:
    """Return the next step of a run that has not ended.

    Args:
        state: The fold of the run's stream.
        profile: How its kind behaves.
        now: UTC microseconds.
    """
    if state.started_at and now - state.started_at > profile.total_s * MICROSECONDS:
        limit = f"the time limit of {profile.total_s:g} s was reached"
        return Finish("timed_out", state.last_text or state.status, limit)
    if state.pending:
        return _next_tool(state, profile)
    if (ended := _ended_by_tool(state, profile)) is not None:
        return ended
    if state.failure is not None and state.failures:
        return _after_failure(state, state.failure, profile)
    if state.refusal is not None:
        return Finish("blocked", state.last_text or state.status, told(state.refusal.shortage))
    if state.answers >= profile.max_calls:
        limit = f"the limit of {profile.max_calls} model calls was reached"
        return Finish("partial", state.last_text or state.status, limit)
    if state.calling:
        return CallModel(state.step, state.failures)  # its answer was lost with its owner
    if state.lines and state.lines[-1].role == "assistant" and not state.fresh_input:
        return _after_text(state, profile)
    return CallModel(state.step + 1)


def _next_tool(state: RunState, profile: Profile) -> Next:
    call = state.pending[0]
    if call.id in state.begun:
        return RunTool(call, interrupted=True)
    verdict = judge(state.done, call.name, call.arguments, profile.guard)
    if verdict.action == "stop":
        return Finish("failed", state.last_text or state.status, verdict.reason)
    if verdict.action == "block":
        return RefuseTool(call, f"Refused: {verdict.reason}. Try something else.")
    warning = f"Note: {verdict.reason}." if verdict.action == "warn" else ""
    return RunTool(call, interrupted=False, warning=warning)


def _ended_by_tool(state: RunState, profile: Profile) -> Next | None:
    if state.signal is not None and not state.fresh_input:
        interactive = state.started is not None and state.started.interactive
        if interactive and state.signal.outcome in {"succeeded", "partial"}:
            return Wait(state.signal.text)
        return Finish(state.signal.outcome, state.signal.text)
    if state.ok_tools & profile.ending_tools:
        return Finish("succeeded", state.last_text)
    return None


def _after_failure(state: RunState, failure: ModelFailed, profile: Profile) -> Next:
    if failure.reason == "overflow":
        if state.trims < OVERFLOW_CUTS:
            return CutContext()
        return Finish("failed", state.last_text, "the conversation does not fit into the model")
    if failure.reason == "refused" or state.failures > profile.failures:
        return Finish("failed", state.last_text, failure.detail)
    return CallModel(state.step + 1, state.failures)


def _after_text(state: RunState, profile: Profile) -> Next:
    interactive = state.started is not None and state.started.interactive
    if profile.text_ends or (interactive and state.last_text):
        text = state.lines[-1].text
        return Wait(text) if interactive else Finish("succeeded", text)
    if state.nudges < profile.nudges:
        return Nudge(profile.reminder)
    if state.last_text:
        return Finish("partial", state.last_text, "it stopped without saying how it came out")
    return Finish("failed", "", "the model gave no answer")
