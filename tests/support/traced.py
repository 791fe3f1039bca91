"""The spans of a story that was told in memory, and what must hold of them."""

from collections import Counter

from schemas.channel import MessageReceived
from schemas.run import ModelReturned, ToolReturned
from services.runtime.telemetry import names
from services.runtime.telemetry.context import caused_by, parsed, trace_of
from services.runtime.telemetry.fold import Spans
from services.runtime.telemetry.span import Span


def spans_of(events, **options) -> list[Span]:
    """Return the spans that a log tells."""
    fold = Spans(**options)
    return [span for recorded in events for span in fold.take(recorded)]


def check(events) -> list[Span]:
    """Make sure that the traces of a log at rest are whole; return their spans."""
    spans = spans_of(events)
    assert len({(it.trace_id, it.span_id) for it in spans}) == len(spans), "an id is used twice"
    known = {it.trace_id: set() for it in spans}
    for it in spans:
        known[it.trace_id].add(it.span_id)
    for it in spans:
        assert it.parent_id is None or it.parent_id in known[it.trace_id], f"an orphan: {it}"
        assert it.start <= it.end
    roots = Counter(it.trace_id for it in spans if it.parent_id is None)
    assert set(roots.values()) <= {1}, "a trace has two roots"
    messages = [it for it in events if isinstance(it.event, MessageReceived)]
    assert {trace_of(it.envelope.id) for it in messages} <= set(roots)
    for recorded in events:  # whatever is measured live hangs on one of these
        carried, leads_to = parsed(recorded.envelope.traceparent), caused_by(recorded.envelope)
        assert carried is not None, recorded
        assert carried.span_id in known[carried.trace_id], recorded
        assert leads_to.span_id in known[carried.trace_id], recorded
    answers = [it.event for it in events if isinstance(it.event, ModelReturned)]
    told = [it for it in spans if names.RESPONSE_MODEL in it.attributes]
    assert len(told) == len(answers), "an answer that was paid for is not told"
    for it in told:
        assert it.attributes[names.TRIGGER] not in {"other", "result"}, it
    results = [it.event for it in events if isinstance(it.event, ToolReturned)]
    assert len([it for it in spans if it.operation == names.EXECUTE_TOOL]) == len(results)
    return spans
