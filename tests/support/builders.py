"""Events with defaults, and the envelopes they come in: `e1` is the first given, and so on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from schemas.base import Content, Event, EventId, Outcome, RunId, RunKind
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    CheckpointCut,
    CompactionFailed,
    CompactionRequested,
    ConversationForked,
    FileSent,
    InputRouted,
    MessageReceived,
    Person,
    ReactionAdded,
    ReplySent,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.envelope import encode, seal
from schemas.run import (
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
from schemas.subjects import Subject
from services.runtime.bodies import reference
from services.runtime.config import ChannelSettings, GuardSettings, GuardThresholds
from services.runtime.event_log import Recorded
from services.runtime.loop_guard import Thresholds
from services.runtime.recording import record
from services.runtime.run_decider import Profile

ANA = Person(id="portal:ana", name="Ana")
BEN = Person(id="portal:ben", name="Ben")
CONVERSATION = Subject("acme", "atlas", "portal", "general")
START = 1_700_000_000_000_000  # UTC microseconds of the first event
SECOND = 1_000_000
SHA = "ab" * 32
BODY = reference(b"a long text")


@dataclass(frozen=True)
class Given:
    """An event in its envelope; what is None is numbered by the story that it is told in."""

    event: Event
    id: str | None = None
    at_s: float | None = None
    """Seconds after `START`."""
    cause: str | None = None
    subject: Subject | None = None


def at(seconds: float, event: Event | Given) -> Given:
    """Return the event as it happened so many seconds after the start."""
    return replace(_given(event), at_s=seconds)


def caused_by(cause: str, event: Event | Given) -> Given:
    """Return the event as the consequence of another."""
    return replace(_given(event), cause=cause)


def story(*told: Event | Given, subject: Subject = CONVERSATION) -> list[Recorded]:
    """Return events as they are read from a log, a millisecond apart."""
    return list(_recorded(told, subject))


def _given(event: Event | Given) -> Given:
    return event if isinstance(event, Given) else Given(event)


def _recorded(told: tuple[Event | Given, ...], subject: Subject) -> Iterator[Recorded]:
    for seq, given in enumerate(map(_given, told), start=1):
        after_s = seq / 1_000 if given.at_s is None else given.at_s
        envelope = seal(
            given.event,
            id=EventId(given.id or f"e{seq}"),
            at=START + round(after_s * SECOND),
            actor="test",
            cause=EventId(given.cause) if given.cause else None,
        )
        yield record(seq, str(given.subject or subject), encode(envelope))


# -- conversations ----------------------------------------------------------------------------


def message(
    text: Content = "hello", *, message_id: str = "m1", author: Person = ANA, **fields
) -> MessageReceived:
    return MessageReceived(message_id=message_id, author=author, text=text, **fields)


def forked(at: str, *, parent: Subject = CONVERSATION, **fields) -> ConversationForked:
    return ConversationForked(
        adapter=parent.adapter, conversation=parent.conversation, at=EventId(at), **fields
    )


def turn_started(turn: str = "t1", *, owner: str = "one") -> TurnStarted:
    return TurnStarted(turn_id=RunId(turn), owner=owner)


def turn_resumed(turn: str = "t1", *, owner: str = "two", attempt: int = 2) -> TurnResumed:
    return TurnResumed(turn_id=RunId(turn), owner=owner, attempt=attempt)


def reply(text: Content = "hi", *, turn: str = "t1") -> ReplySent:
    return ReplySent(turn_id=RunId(turn), text=text)


def reaction(emoji: str = "👍", *, turn: str = "t1", to: str = "m1") -> ReactionAdded:
    return ReactionAdded(turn_id=RunId(turn), emoji=emoji, message_id=to)


def file_sent(name: str = "plan.pdf", *, turn: str = "t1", caption: str = "") -> FileSent:
    return FileSent(turn_id=RunId(turn), name=name, body=BODY, caption=caption)


def branch(run: str = "b1", *, task: Content = "recall", forked_at: str = "e1") -> BranchRequested:
    return BranchRequested(run_id=RunId(run), task=task, forked_at=EventId(forked_at))


def persistence(run: str = "p1", *, forked_at: str = "e1") -> BranchRequested:
    return BranchRequested(
        run_id=RunId(run), task="save", forked_at=EventId(forked_at), purpose="persistence"
    )


def branch_concluded(
    run: str = "b1",
    *,
    text: Content = "known",
    outcome: Outcome = "succeeded",
    worker: str | None = None,
) -> BranchConcluded:
    delegated_to = RunId(worker) if worker else None
    return BranchConcluded(
        run_id=RunId(run), outcome=outcome, conclusion=text, delegated_to=delegated_to
    )


def worker(run: str = "w1", *, task: Content = "build", **fields) -> WorkerRequested:
    return WorkerRequested(run_id=RunId(run), task=task, **fields)


def worker_reported(run: str = "w1", *, text: Content = "first result") -> WorkerReported:
    return WorkerReported(run_id=RunId(run), result=text)


def worker_concluded(
    run: str = "w1", *, text: Content = "built", outcome: Outcome = "succeeded"
) -> WorkerConcluded:
    return WorkerConcluded(run_id=RunId(run), outcome=outcome, result=text)


def routed(run: str = "w1", *, text: Content = "and more") -> InputRouted:
    return InputRouted(run_id=RunId(run), text=text)


def cancel(run: str = "w1", *, reason: str = "enough") -> CancelRequested:
    return CancelRequested(run_id=RunId(run), reason=reason)


def turn_completed(*handled: str, turn: str = "t1", **fields) -> TurnCompleted:
    return TurnCompleted(turn_id=RunId(turn), handled=tuple(map(EventId, handled)), **fields)


def turn_failed(*handled: str, turn: str = "t1", reason: str = "no model") -> TurnFailed:
    return TurnFailed(turn_id=RunId(turn), handled=tuple(map(EventId, handled)), reason=reason)


def retry(turn: str = "t1") -> RetryRequested:
    return RetryRequested(turn_id=RunId(turn))


def compaction(
    until: str,
    *,
    after: str | None = None,
    run: str = "k1",
    sources: tuple[str, ...] = (),
    **fields,
) -> CompactionRequested:
    return CompactionRequested(
        run_id=RunId(run),
        after=EventId(after) if after else None,
        until=EventId(until),
        sources=tuple(map(EventId, sources)),
        **fields,
    )


def checkpoint(
    until: str,
    *,
    after: str | None = None,
    title: str = "What was said",
    summary: Content = "In short.",
    run: str | None = None,
    sources: tuple[str, ...] = (),
    **fields,
) -> CheckpointCut:
    return CheckpointCut(
        after=EventId(after) if after else None,
        until=EventId(until),
        title=title,
        summary=summary,
        run_id=RunId(run) if run else None,
        sources=tuple(map(EventId, sources)),
        **fields,
    )


def compaction_failed(
    run: str = "k1", *, outcome: Outcome = "failed", reason: str = "no model"
) -> CompactionFailed:
    return CompactionFailed(run_id=RunId(run), outcome=outcome, reason=reason)


# -- runs -------------------------------------------------------------------------------------

RUN = RunId("r1")


def run_started(kind: RunKind = "worker", *, run: str = RUN, **fields) -> RunStarted:
    return RunStarted(run_id=RunId(run), kind=kind, **{"owner": "one", **fields})


def run_resumed(*, owner: str = "two", attempt: int = 2) -> RunResumed:
    return RunResumed(run_id=RUN, owner=owner, attempt=attempt)


def model_called(step: int = 1, *, context: str | None = None, note: Content = "") -> ModelCalled:
    return ModelCalled(
        run_id=RUN,
        step=step,
        model="scripted/one",
        prompt=SHA,
        tools=SHA,
        request=SHA,
        context=EventId(context) if context else None,
        note=note,
    )


def call(call_id: str = "c1", name: str = "shell", arguments: str = "{}") -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments)


def model_returned(text: Content = "", *calls: ToolCall, step: int = 1) -> ModelReturned:
    return ModelReturned(run_id=RUN, step=step, model="scripted/one", text=text, tool_calls=calls)


def model_failed(reason: str = "unavailable", *, step: int = 1, detail: str = "") -> ModelFailed:
    return ModelFailed(run_id=RUN, step=step, reason=reason, detail=detail)


def tool_called(call_id: str = "c1", name: str = "shell") -> ToolCalled:
    return ToolCalled(run_id=RUN, call_id=call_id, name=name)


def tool_returned(
    call_id: str = "c1", name: str = "shell", *, output: Content = "done", status: str = "ok"
) -> ToolReturned:
    return ToolReturned(run_id=RUN, call_id=call_id, name=name, output=output, status=status)


def status(text: str = "half way", *, outcome: Outcome | None = None) -> StatusSet:
    return StatusSet(run_id=RUN, status=text, outcome=outcome)


def noted(text: str = "go on", *, kind: str = "nudge") -> Noted:
    return Noted(run_id=RUN, kind=kind, text=text)


def input_received(text: Content = "and more", *, source: str = "i1") -> InputReceived:
    return InputReceived(run_id=RUN, text=text, source=EventId(source))


def context_trimmed(dropped: int = 3) -> ContextTrimmed:
    return ContextTrimmed(run_id=RUN, dropped=dropped)


def run_waiting(result: Content = "first result") -> RunWaiting:
    return RunWaiting(run_id=RUN, result=result)


def run_ended(outcome: Outcome = "succeeded", *, result: Content = "", **fields) -> RunEnded:
    return RunEnded(run_id=RUN, outcome=outcome, result=result, **fields)


# -- settings ---------------------------------------------------------------------------------


def thresholds(settings: GuardThresholds) -> Thresholds:
    """Return the loop guard's thresholds as a process makes them of its settings."""
    return Thresholds(
        warn_identical=settings.identical_warn,
        block_identical=settings.identical_block,
        poll_factor=settings.poll_multiplier,
        warn_same_outcome=settings.outcome_warn,
        block_same_outcome=settings.outcome_block,
        ping_pong=settings.ping_pong_repeats,
    )


TURN = Profile(
    kind="turn",
    max_calls=ChannelSettings().max_turns,
    guard=thresholds(GuardSettings().turn),
    total_s=3_600.0,
    ending_tools=frozenset({"reply", "skip"}),
)
BRANCH = Profile(
    kind="branch",
    max_calls=50,
    guard=thresholds(GuardSettings().branch),
    total_s=900.0,
    ending_tools=frozenset({"spawn_worker"}),
    failures=3,
)
COMPACTION = Profile(
    kind="compaction",
    max_calls=2,
    guard=thresholds(GuardSettings().branch),
    total_s=600.0,
    failures=3,
)
WORKER = Profile(
    kind="worker",
    max_calls=150,
    guard=thresholds(GuardSettings().worker),
    total_s=1_800.0,
    text_ends=False,
    nudges=2,
    failures=3,
)
SYNTHESIS = Profile(
    kind="synthesis",
    max_calls=2,
    guard=thresholds(GuardSettings().branch),
    total_s=900.0,
    failures=3,
)
