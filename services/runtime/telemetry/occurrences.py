"""Times of jobs that did not fire, as spans: what did not happen is seen where one looks for it."""

from schemas.schedule import OccurrenceMissed, OccurrenceSkipped
from services.runtime.event_log import Recorded
from services.runtime.telemetry import names
from services.runtime.telemetry.context import UNTRACED, parsed, span_of, trace_of
from services.runtime.telemetry.span import Link, Span, Value
from services.runtime.telemetry.state import common


def not_fired(recorded: Recorded, event: OccurrenceSkipped | OccurrenceMissed) -> Span:
    """Return the span of a time that was skipped or missed: from when it was due to its record.

    A missed one counts as an error. A skipped one links to what it was skipped for, where that
    began a trace, as the occurrence that still went on did.
    """
    envelope = recorded.envelope
    here = parsed(envelope.traceparent) or UNTRACED
    what = "missed" if isinstance(event, OccurrenceMissed) else "skipped"
    attributes = common(recorded.subject)
    more: dict[str, Value] = {
        names.TRIGGER: "job",
        names.DUE_AT: event.due_at,
        names.REASON: event.reason,
        names.OUTCOME: what,
        names.EVENT: envelope.id,
        names.EVENT_TYPE: envelope.type,
    }
    links: tuple[Link, ...] = ()
    if isinstance(event, OccurrenceMissed):
        more |= {
            names.POLICY: event.policy,
            names.DOWN_FROM: event.down_from_at,
            names.DOWN_TO: event.down_to_at,
        }
    elif event.because is not None and event.reason == "overlap":
        links = (Link(trace_of(event.because), span_of(event.because)),)
    own = span_of(envelope.id)
    return Span(
        operation=f"occurrence_{what}",
        name=f"occurrence_{what}",
        kind="internal",
        trace_id=here.trace_id,
        span_id=own,
        parent_id=here.span_id if here.span_id not in {own, ""} else None,
        start=min(event.due_at, envelope.at),
        end=envelope.at,
        attributes=attributes | more,
        sampled=here.sampled,
        error=event.reason if what == "missed" else None,
        links=links,
        tenant=str(attributes[names.TENANT]),
    )
