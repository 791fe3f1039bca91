"""Runs: what every turn, branch, worker and compaction did, step by step, and how it ended.

Grain:    `runs`: one row per run; `steps`: one row per model call and per tool call
Source:   the channel streams (asked for, concluded) and the runs' own streams (steps, ended)
Read by:  run pages and lists, penstock status, the recovery sweep
Rebuild:  any time
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Row, Statement
from schemas.base import Content, EventId, Outcome, RunId, RunKind
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    ChannelEvent,
    CheckpointCut,
    CompactionFailed,
    CompactionRequested,
    ConversationForked,
    FileSent,
    InputRouted,
    MessageReceived,
    ReactionAdded,
    ReplySent,
    ResultDelivered,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.cortex import KnowledgeSynthesised, SynthesisFailed
from schemas.run import (
    CallRefused,
    ContextTrimmed,
    InputReceived,
    ModelCalled,
    ModelFailed,
    ModelReturned,
    Noted,
    RunEnded,
    RunEvent,
    RunResumed,
    RunStarted,
    RunWaiting,
    StatusSet,
    ToolCalled,
    ToolReturned,
)
from schemas.subjects import Subject

NAME = "runs"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("runs.sql")
TABLES = ("runs", "steps")

NEWEST: Final = 2**63 - 1  # behind every sequence

RUNS = Merge(
    "runs",
    key=("tenant", "run_id"),
    first=(
        *("kind", "agent", "adapter", "conversation", "seq", "parent", "turn", "task"),
        *("interactive", "requested_at", "started_at", "model", "outcome", "ended_at"),
        "concluded_at",
    ),
    last=(
        *("state", "owner", "attempts", "status", "answer", "result", "reason"),
        *("last_seq", "last_at"),
    ),
)
STEPS = Merge(
    "steps",
    key=("tenant", "run_id", "kind", "ref"),
    first=("seq", "event_id"),
    last=(
        *("started_at", "ended_at", "status", "name", "tools", "finish", "detail"),
        *("input_tokens", "output_tokens", "cached_tokens", "cost_usd", "duration_ms"),
    ),
)
TARGETS = (RUNS, STEPS)

State = Literal["requested", "running", "waiting", "ended"]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `runs`, with the sums of its steps; times in UTC microseconds."""

    tenant: str
    run_id: RunId
    kind: RunKind
    agent: str
    adapter: str
    conversation: str
    seq: int
    """Its first event."""
    parent: RunId | None
    turn: RunId | None
    task: Content | None
    interactive: bool
    requested_at: int | None
    started_at: int | None
    state: State
    owner: str | None
    attempts: int
    model: str | None
    status: str | None
    """What it last said of itself."""
    outcome: Outcome | None
    answer: Literal["replied", "skipped", "silent"] | None
    """Turns only."""
    result: Content | None
    reason: str | None
    ended_at: int | None
    concluded_at: int | None
    """When the conversation was told how it ended; None: it still has to be."""
    last_seq: int
    last_at: int
    model_calls: int
    tool_calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float | None
    """None where no price is known."""


class OpenRuns(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs of one tenant, kind and state have not concluded."""

    tenant: str
    kind: RunKind
    state: State
    count: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `steps`; times in UTC microseconds."""

    kind: Literal["model", "tool"]
    ref: str
    """Number of the model call, or id of the tool call."""
    seq: int
    event_id: EventId
    started_at: int | None
    ended_at: int | None
    status: str | None
    """`called` while at work, then `ok` or what went wrong."""
    name: str | None
    tools: tuple[str, ...] | None
    finish: str | None
    detail: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_usd: float | None
    duration_ms: int | None


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the rows of the run that the event is about, and of its step."""
    event = recorded.event
    if isinstance(event, RunEvent):
        told, step = _of_run(event, recorded), _of_step(event, recorded)
        run_id: str = event.run_id
    elif isinstance(event, ChannelEvent) and (about := _of_channel(event, recorded)) is not None:
        run_id, told = about
        step = None
    elif isinstance(event, KnowledgeSynthesised | SynthesisFailed):  # a synthesis' conclusion
        run_id, told, step = event.run_id, {"concluded_at": recorded.envelope.at}, None
    else:
        return
    envelope = recorded.envelope
    tenant, agent, adapter, conversation, *_ = place(recorded.subject)
    run: Row = {
        "tenant": tenant,
        "run_id": run_id,
        "agent": agent or "",
        "adapter": adapter or "",
        "conversation": conversation or "",
        "seq": recorded.seq,
        "turn": envelope.turn,
        "last_seq": recorded.seq,
        "last_at": envelope.at,
        **told,
    }
    yield Statement(RUNS, run)
    if step is not None:
        new: Row = {
            "tenant": tenant,
            "run_id": run_id,
            "seq": recorded.seq,
            "event_id": envelope.id,
            **step,
        }
        yield Statement(STEPS, new)


def _of_channel(event: ChannelEvent, recorded: Recorded) -> tuple[str, Row] | None:
    """Return the run that the conversation speaks of and what it says, or None."""
    at = recorded.envelope.at
    row: Row = {}
    match event:
        case (
            MessageReceived()
            | ReplySent()
            | ReactionAdded()
            | FileSent()
            | RetryRequested()
            | ResultDelivered()
            | ConversationForked()
        ):
            return None
        case TurnStarted() | TurnResumed() | TurnCompleted() | TurnFailed():
            return event.turn_id, _of_turn(event, at)
        case BranchRequested():
            row = {"kind": "branch", "task": event.task, "requested_at": at}
        case WorkerRequested():
            row = {"kind": "worker", "task": event.task, "requested_at": at}
            row |= {"parent": event.parent, "interactive": event.interactive}
        case BranchConcluded():
            row = {"outcome": event.outcome, "result": event.conclusion or None}
            row |= {"ended_at": at, "concluded_at": at}
        case WorkerConcluded():
            row = {"outcome": event.outcome, "result": event.result or None}
            row |= {"ended_at": at, "concluded_at": at}
        case WorkerReported():
            row = {"result": event.result or None}
        case InputRouted() | CancelRequested():
            row = {"state": "running"}  # there is something to do, even if it waited
        case CompactionRequested() | CheckpointCut() | CompactionFailed():
            return _of_compaction(event, at)
    return event.run_id, row


def _of_compaction(
    event: CompactionRequested | CheckpointCut | CompactionFailed, at: int
) -> tuple[str, Row] | None:
    """Return the compaction that the conversation speaks of; None where a cut had none."""
    if event.run_id is None:
        return None
    row: Row = {"ended_at": at, "concluded_at": at}
    match event:
        case CompactionRequested(kind=kind):
            row = {"kind": "compaction", "task": kind, "requested_at": at}
        case CheckpointCut(summary=summary):
            row |= {"outcome": "succeeded", "result": summary or None}
        case CompactionFailed(outcome=outcome, reason=reason):
            row |= {"outcome": outcome, "reason": reason or None}
    return event.run_id, row


def _of_turn(event: TurnStarted | TurnResumed | TurnCompleted | TurnFailed, at: int) -> Row:
    """Return what the conversation says of its turn."""
    row: Row = {}
    match event:
        case TurnStarted():
            row = {"kind": "turn", "owner": event.owner, "attempts": 1}
            return row | {"started_at": at, "state": "running"}
        case TurnResumed():
            return {"owner": event.owner, "attempts": event.attempt, "state": "running"}
        case TurnCompleted():
            row = {"outcome": "succeeded", "answer": event.outcome, "reason": event.reason or None}
        case TurnFailed():
            row = {"outcome": "failed", "reason": event.reason, "attempts": event.attempts}
    return row | {"ended_at": at, "concluded_at": at}


def _of_run(event: RunEvent, recorded: Recorded) -> Row:
    """Return what the event says of its run."""
    match event:
        case RunStarted():
            return {
                "kind": event.kind,
                "owner": event.owner,
                "task": event.task or None,
                "parent": event.parent,
                "model": event.model or None,
                "interactive": event.interactive,
                "attempts": 1,
                "started_at": recorded.envelope.at,
                "state": "running",
            }
        case RunResumed():
            return {"owner": event.owner, "attempts": event.attempt, "state": "running"}
        case StatusSet():
            return {"status": event.status}
        case RunWaiting():
            return {"result": event.result or None, "state": "waiting"}
        case RunEnded():
            return {
                "outcome": event.outcome,
                "result": event.result or None,
                "reason": event.reason or None,
                "ended_at": recorded.envelope.at,
            }
        case (
            ModelCalled()
            | ModelReturned()
            | ModelFailed()
            | CallRefused()
            | ToolCalled()
            | ToolReturned()
            | Noted()
            | InputReceived()
            | ContextTrimmed()
        ):
            return {}


def _of_step(event: RunEvent, recorded: Recorded) -> Row | None:
    """Return what the event says of a step, or None."""
    at = recorded.envelope.at
    match event:
        case ModelCalled():
            row: Row = {"kind": "model", "ref": str(event.step), "name": event.model}
            return {**row, "status": "called", "started_at": at}
        case ModelReturned():
            return {
                "kind": "model",
                "ref": str(event.step),
                "ended_at": at,
                "status": "ok",
                "name": event.model,
                "tools": [call.name for call in event.tool_calls],
                "finish": event.finish,
                "input_tokens": event.usage.input,
                "output_tokens": event.usage.output,
                "cached_tokens": event.usage.cached,
                "cost_usd": event.usage.cost_usd,
                "duration_ms": event.latency_ms,
            }
        case ModelFailed():
            row = {"kind": "model", "ref": str(event.step), "ended_at": at}
            return {**row, "status": event.reason, "detail": event.detail or None}
        case CallRefused():
            row = {"kind": "model", "ref": str(event.step), "name": event.model, "ended_at": at}
            return {**row, "status": "budget", "detail": event.shortage.budget, "started_at": at}
        case ToolCalled():
            row = {"kind": "tool", "ref": event.call_id, "name": event.name}
            return {**row, "status": "called", "started_at": at}
        case ToolReturned():
            row = {"kind": "tool", "ref": event.call_id, "name": event.name, "ended_at": at}
            return {**row, "status": event.status, "duration_ms": event.duration_ms}
        case (
            RunStarted()
            | RunResumed()
            | StatusSet()
            | Noted()
            | InputReceived()
            | ContextTrimmed()
            | RunWaiting()
            | RunEnded()
        ):
            return None


async def one(conn: Conn, tenant: str, run_id: str) -> Run | None:
    """Return the run, or None."""
    found = await _runs(conn, "one", {"tenant": tenant, "run_id": run_id})
    return found[0] if found else None


async def of_conversation(
    conn: Conn, conversation: Subject, *, before: int = NEWEST, limit: int = 50
) -> list[Run]:
    """Return the runs of a conversation whose `seq` is below `before`, newest first."""
    parameters = {**_where(conversation), "before": before, "limit": limit}
    return await _runs(conn, "of_conversation", parameters)


async def of_turn(conn: Conn, conversation: Subject, turn: str) -> list[Run]:
    """Return the turn and the runs that came from it, in the order they were asked for."""
    return await _runs(conn, "of_turn", {**_where(conversation), "turn": turn})


async def listing(
    conn: Conn,
    tenant: str,
    *,
    kind: RunKind | None = None,
    active: bool = False,
    before: int = NEWEST,
    limit: int = 50,
) -> list[Run]:
    """Return runs whose `seq` is below `before`, newest first; `active`: none that has ended."""
    parameters: dict[str, object] = {
        "tenant": tenant,
        "kind": kind,
        "active": active,
        "before": before,
        "limit": limit,
    }
    return await _runs(conn, "listing", parameters)


async def stalled(conn: Conn, *, before_at: int, limit: int = 1_000) -> list[Run]:
    """Return runs of every tenant that should move and have not, oldest first.

    Neither concluded nor waiting for input, and their last event was before `before_at`, in UTC
    microseconds. Not for a tenant's connection, which would see its own runs only.
    """
    return await _runs(conn, "stalled", {"before_at": before_at, "limit": limit})


async def open_counts(conn: Conn) -> list[OpenRuns]:
    """Return how many runs have not concluded, of every tenant: not for a tenant's connection."""
    return await rows(conn, OpenRuns, SQL["open_counts"], {})


async def steps(
    conn: Conn, tenant: str, run_id: str, *, after: int = 0, limit: int = 1_000
) -> list[Step]:
    """Return the steps of a run whose `seq` is behind `after`, in the order they began."""
    parameters = {"tenant": tenant, "run_id": run_id, "after": after, "limit": limit}
    return await rows(conn, Step, SQL["steps"], parameters)


async def _runs(conn: Conn, which: str, parameters: dict[str, object]) -> list[Run]:
    return await rows(conn, Run, f"{SQL['run']}\n{SQL[which]}", parameters)


def _where(conversation: Subject) -> dict[str, object]:
    return {
        "tenant": conversation.tenant,
        "agent": conversation.agent or "",
        "adapter": conversation.adapter or "",
        "conversation": conversation.conversation or "",
    }
