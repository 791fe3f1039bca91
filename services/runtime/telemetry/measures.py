"""What spans come to as metrics. Pure."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from services.runtime.telemetry import names
from services.runtime.telemetry.span import Span, Value

ACCOUNT: Final = (names.TENANT, names.AGENT_ID, names.TRIGGER)
"""Whom something is counted for; ids of conversations and runs would be a series each."""
MODEL: Final = (names.OPERATION, names.PROVIDER, names.REQUEST_MODEL, names.RESPONSE_MODEL)
DURATIONS: Final = {
    names.INVOKE_WORKFLOW: (names.WORKFLOW_DURATION, (names.WORKFLOW,)),
    names.INVOKE_AGENT: (names.AGENT_DURATION, (names.AGENT_NAME,)),
    names.EXECUTE_TOOL: (names.TOOL_DURATION, (names.TOOL_NAME,)),
    names.CHAT: (names.OPERATION_DURATION, MODEL),
}
NOT_FIRED: Final = {"occurrence_skipped", "occurrence_missed"}


class Measurement(NamedTuple):
    """One value for one instrument."""

    name: str
    value: float
    attributes: dict[str, Value]


def measured(span: Span) -> Iterator[Measurement]:
    """Yield what a span adds to the metrics."""
    account = _some(span, ACCOUNT)
    if span.operation in DURATIONS:
        name, more = DURATIONS[span.operation]
        attributes = account | _some(span, more)
        if span.error is not None:
            attributes[names.ERROR] = span.error
        yield Measurement(name, span.seconds, attributes)
    if span.operation == names.CHAT:
        yield from _spent(span, account | _some(span, MODEL))
    if span.latency is not None:
        yield Measurement(
            names.TURN_LATENCY,
            max(span.latency, 0) / 1_000_000,
            account | _some(span, (names.WORKFLOW,)),
        )
    if span.operation in NOT_FIRED or span.attributes.get(names.OUTCOME) == "fired":
        outcome = (names.TENANT, names.AGENT_ID, names.JOB, names.OUTCOME, names.REASON)
        yield Measurement(names.OCCURRENCES, 1, _some(span, outcome))


def _spent(span: Span, attributes: dict[str, Value]) -> Iterator[Measurement]:
    for name, kind in ((names.INPUT_TOKENS, "input"), (names.OUTPUT_TOKENS, "output")):
        tokens = span.attributes.get(name)
        if isinstance(tokens, int):
            yield Measurement(names.TOKEN_USAGE, tokens, attributes | {names.TOKEN_TYPE: kind})
    cost = span.attributes.get(names.COST)
    if isinstance(cost, float | int):
        yield Measurement(names.CLIENT_COST, cost, attributes)
    first = span.attributes.get(names.FIRST_CHUNK)
    if isinstance(first, float | int):
        yield Measurement(names.TIME_TO_FIRST_CHUNK, first, attributes)


def _some(span: Span, wanted: tuple[str, ...]) -> dict[str, Value]:
    return {name: span.attributes[name] for name in wanted if name in span.attributes}
