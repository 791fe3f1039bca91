"""Spans of what has ended, with the names and attributes of the conventions. Pure."""

import re
from collections.abc import Sequence
from typing import Final, Literal

from schemas.base import Content, Outcome
from schemas.channel import MessageReceived, ReplySent, TurnCompleted, TurnFailed
from schemas.run import ModelFailed, ModelReturned, ToolReturned
from schemas.schedule import OccurrenceFired
from services.runtime.event_log import Recorded
from services.runtime.telemetry import names
from services.runtime.telemetry.context import TraceContext, span_of
from services.runtime.telemetry.span import Link, Said, Span, Value
from services.runtime.telemetry.state import Begun, Call, Open, common, place_of

BAD: Final[frozenset[str]] = frozenset({"failed", "timed_out", "blocked"})
STREAM: Final = "EVENTS"
OTHER: Final = "_OTHER"  # the conventions' word for what has no name of ours
_TOOL: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
WORKFLOWS: Final = {False: "turn", True: "scheduled_run"}


def destination(subject: str) -> str:
    """Return the template of a subject: spans are named by it, subjects carry ids."""
    _, entity, id_ = subject.rsplit(".", 2)
    last = "_" if id_ == "_" else "{id}"
    return f"evt.{{tenant}}.{{agent}}.{{adapter}}.{{conversation}}.{entity}.{last}"


def messaging(recorded: Recorded, operation: str) -> dict[str, Value]:
    """Return the attributes of a message that is sent or processed."""
    envelope = recorded.envelope
    attributes: dict[str, Value] = {
        names.MESSAGING_SYSTEM: names.NATS,
        names.MESSAGING_OPERATION: operation,
        names.MESSAGING_OPERATION_TYPE: operation,
        names.DESTINATION: recorded.subject,
        names.DESTINATION_TEMPLATE: destination(recorded.subject),
        names.MESSAGE_ID: f"evt:{envelope.id}",
        names.NATS_STREAM: STREAM,
        names.NATS_SEQUENCE: recorded.seq,
        names.EVENT_TYPE: envelope.type,
        names.ACTOR: envelope.actor.partition(":")[0],  # who it is, is in the log
    }
    if recorded.body:
        attributes[names.MESSAGE_BYTES] = len(recorded.body)
    if envelope.turn is not None:
        attributes[names.MESSAGE_CORRELATION] = envelope.turn
    return attributes


def sent(recorded: Recorded, here: TraceContext, parent: str | None, words: bool) -> Span:
    """Return the span of an event that somebody acts upon."""
    attributes = common(recorded.subject) | messaging(recorded, names.SEND)
    said: dict[str, Said] = {}
    match recorded.event:
        case OccurrenceFired(due_at=due):
            attributes |= {names.DUE_AT: due, names.OUTCOME: "fired", names.TRIGGER: "job"}
        case MessageReceived(text=text):
            attributes[names.TRIGGER] = "message"
            said = {names.INPUT_MESSAGES: Said(text=text, role="user")}
        case ReplySent(text=text):
            said = {names.OUTPUT_MESSAGES: Said(text=text, role="assistant")}
        case _:
            pass
    at = recorded.envelope.at
    return Span(
        operation=names.SEND,
        name=f"{names.SEND} {destination(recorded.subject)}",
        kind="producer",
        trace_id=here.trace_id,
        span_id=span_of(recorded.envelope.id),
        parent_id=parent,
        start=at,
        end=at,
        attributes=attributes,
        sampled=here.sampled,
        said=said if words else {},
        tenant=place_of(recorded.subject).tenant,
    )


def workflow(run: Open, event: TurnCompleted | TurnFailed, at: int, links: Sequence[Link]) -> Span:
    """Return the span of a turn that has ended; it links to what else it answered."""
    name = WORKFLOWS[run.scheduled]
    failed = isinstance(event, TurnFailed)
    others = [it for it in links if it.span_id != run.context.span_id]
    attributes: dict[str, Value] = {
        names.WORKFLOW: name,
        names.OUTCOME: "failed" if isinstance(event, TurnFailed) else event.outcome,
    }
    return _whole(
        run,
        names.INVOKE_WORKFLOW,
        name,
        at,
        attributes,
        error="failed" if failed else None,
        detail=event.reason if isinstance(event, TurnFailed) else "",
        links=tuple(others),
        said=_exchange(run.task, run.said),
        latency=run.replied_at - run.asked_at if run.replied_at else None,
    )


def agent(
    run: Open, outcome: Outcome | Literal["waiting"], at: int, said: Content, *, reason: str = ""
) -> Span:
    """Return the span of a run that has ended, or that waits for input."""
    attributes: dict[str, Value] = {names.OUTCOME: outcome}
    if run.parent is not None:
        attributes[names.RUN_PARENT] = run.parent
    bad = outcome in BAD
    return _whole(
        run,
        names.INVOKE_AGENT,
        agent_name(run),
        at,
        attributes,
        error=outcome if bad else None,
        detail=reason if bad else "",
        said=_exchange(run.task, said),
    )


def agent_name(run: Open) -> str:
    """Return what a run is called beside other runs of the same agent."""
    agent_id = place_of(run.subject).agent or ""
    return agent_id if run.kind == "turn" else f"{agent_id}/{run.kind}"


def _exchange(asked: Content, answered: Content) -> dict[str, Said]:
    said = {}
    if asked:
        said[names.INPUT_MESSAGES] = Said(text=asked, role="user")
    if answered:
        said[names.OUTPUT_MESSAGES] = Said(text=answered, role="assistant")
    return said


def _whole(  # noqa: PLR0913 - a span has these parts
    run: Open,
    operation: str,
    name: str,
    at: int,
    attributes: dict[str, Value],
    *,
    error: str | None,
    detail: str,
    said: dict[str, Said],
    links: tuple[Link, ...] = (),
    latency: int | None = None,
) -> Span:
    used: dict[str, Value] = {}
    if run.model:
        provider, model = names.provider_and_model(run.model)
        used = {names.PROVIDER: provider, names.REQUEST_MODEL: model}
    if run.calls:
        used |= {
            names.INPUT_TOKENS: run.input,
            names.OUTPUT_TOKENS: run.output,
            names.CACHED_TOKENS: run.cached,
        }
        if run.cost_usd is not None:
            used[names.COST] = run.cost_usd
    return Span(
        operation=operation,
        name=f"{operation} {name}",
        kind="internal",
        trace_id=run.context.trace_id,
        span_id=run.span_id,
        parent_id=run.context.span_id or None,
        start=run.since,
        end=at,
        attributes=_of(run, operation) | used | {names.ATTEMPTS: run.attempts} | attributes,
        sampled=run.context.sampled,
        error=error,
        detail=detail,
        links=links,
        moments=tuple(run.moments),
        said=said,
        tenant=place_of(run.subject).tenant,
        latency=latency,
    )


def _of(run: Open, operation: str) -> dict[str, Value]:
    """Return the attributes that a run and each of its steps have."""
    attributes = common(run.subject, agent_name(run))
    attributes |= {
        names.OPERATION: operation,
        names.TRIGGER: run.trigger,
        names.RUN: run.run_id,
        names.RUN_KIND: run.kind,
    }
    if run.turn is not None:
        attributes[names.TURN] = run.turn
    return attributes


def chat(
    run: Open, call: Call, event: ModelReturned | ModelFailed | None, at: int, *, words: bool
) -> Span:
    """Return the span of a model call; without an event, of one that came to nothing."""
    provider, model = names.provider_and_model(call.model)
    attributes: dict[str, Value] = {
        names.PROVIDER: provider,
        names.REQUEST_MODEL: model,
        names.STEP: call.step,
    }
    error: str | None = "interrupted"
    detail, said = "", {}
    match event:
        case ModelReturned(usage=usage):
            answering, answered = names.provider_and_model(event.model)
            attributes |= {
                names.PROVIDER: answering,
                names.RESPONSE_MODEL: answered,
                names.FINISH_REASONS: (event.finish,),
                names.INPUT_TOKENS: usage.input,
                names.OUTPUT_TOKENS: usage.output,
                names.CACHED_TOKENS: usage.cached,
            }
            if usage.cost_usd is not None:
                attributes[names.COST] = usage.cost_usd
            if event.first_chunk_ms is not None:
                attributes[names.REQUEST_STREAM] = True
                attributes[names.FIRST_CHUNK] = event.first_chunk_ms / 1_000
            error = None
            answer = Said(text=event.text, role="assistant", calls=event.tool_calls)
            said = {names.OUTPUT_MESSAGES: answer}
        case ModelFailed(reason=reason):
            error, detail = reason, event.detail
        case None:
            pass
    return _part(
        run,
        names.CHAT,
        model,
        (call.at, at),
        attributes,
        own=span_of(run.span_id, call.id),
        client=True,
        error=error,
        detail=detail,
        said=said if words else {},
    )


def tool(run: Open, begun: Begun, event: ToolReturned, at: int, *, words: bool) -> Span:
    """Return the span of a tool call.

    A model may ask for a tool that there is not, and put into its name what it likes.
    """
    name = event.name if _TOOL.fullmatch(event.name) else OTHER
    attributes: dict[str, Value] = {
        names.TOOL_NAME: name,
        names.TOOL_CALL: event.call_id,
        names.TOOL_TYPE: "function",
        names.STATUS: event.status,
    }
    if event.recalled:
        attributes[names.RECORD_COUNT] = len(event.recalled)
    said = {
        names.TOOL_ARGUMENTS: Said(text=begun.arguments),
        names.TOOL_RESULT: Said(text=event.output),
    }
    return _part(
        run,
        names.EXECUTE_TOOL,
        name,
        (begun.at, at),
        attributes,
        own=span_of(run.span_id, event.call_id),
        error=None if event.status == "ok" else event.status,
        said=said if words else {},
    )


def _part(  # noqa: PLR0913 - a span has these parts
    run: Open,
    operation: str,
    name: str,
    between: tuple[int, int],
    attributes: dict[str, Value],
    *,
    own: str,
    error: str | None,
    said: dict[str, Said],
    client: bool = False,
    detail: str = "",
) -> Span:
    """Return the span of a run's step."""
    return Span(
        operation=operation,
        name=f"{operation} {name}",
        kind="client" if client else "internal",
        trace_id=run.context.trace_id,
        span_id=own,
        parent_id=run.span_id if run.context.trace_id else None,
        start=between[0],
        end=between[1],
        attributes=_of(run, operation) | attributes,
        sampled=run.context.sampled,
        error=error,
        detail=detail,
        said=said,
        tenant=place_of(run.subject).tenant,
    )
