"""The OpenTelemetry SDK in our hands; imported only where the environment asks for it."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from time import perf_counter
from typing import Final

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from services.runtime.clock import Clock
from services.runtime.config import TelemetrySettings
from services.runtime.event_log import Delivery
from services.runtime.telemetry import names
from services.runtime.telemetry.aside import aside
from services.runtime.telemetry.context import TraceContext, caused_by
from services.runtime.telemetry.environment import Wanted
from services.runtime.telemetry.later import Later
from services.runtime.telemetry.live import Operation
from services.runtime.telemetry.measures import measured
from services.runtime.telemetry.meters import Meters
from services.runtime.telemetry.span import Said, Span, Value
from services.runtime.telemetry.state import common
from services.runtime.telemetry.telling import destination, messaging
from services.runtime.telemetry.words import safe

log = structlog.get_logger()

FLUSH_S: Final = 3.0  # a collector that is away does not keep a process from stopping
DETAIL: Final = 200  # characters of what a failure says of itself
REFUSED: Final = frozenset({"failed", "parked", "retried"})
KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class Sdk:
    """Providers, exporters and instruments of one process."""

    def __init__(
        self,
        wanted: Wanted,
        settings: TelemetrySettings,
        clock: Clock,
        *,
        service: str | None,
        instance: str,
    ) -> None:
        """Make what is wanted; `service` is its name where the environment gives none."""
        named = {"service.name": service} if service is not None else {}
        resource = Resource.create(
            {**named, "service.version": version("penstock"), "service.instance.id": instance}
        )
        self._settings = settings
        self._clock = clock
        self._exporters = [_span_exporter(name) for name in wanted.traces]
        self._told = _Told(resource)
        self._later = Later()
        self._live = TracerProvider(resource=resource, shutdown_on_exit=False)
        for name in wanted.traces:
            self._live.add_span_processor(BatchSpanProcessor(_span_exporter(name)))
        self._tracer = self._live.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)
        readers = [PeriodicExportingMetricReader(_metric_exporter(it)) for it in wanted.metrics]
        self._meters = Meters(readers, resource)
        self._traces, self._metrics = bool(wanted.traces), bool(wanted.metrics)

    def samples(self, trace_id: str) -> bool:
        """Tell whether a new trace is to be exported, as `OTEL_TRACES_SAMPLER` has it."""
        if not self._traces:
            return False
        result = self._live.sampler.should_sample(None, int(trace_id, 16), names.SEND)
        return result.decision is Decision.RECORD_AND_SAMPLE

    def words_of(self, tenant: str) -> bool:
        """Tell whether spans of a tenant say what was said."""
        settings = self._settings
        return settings.content and (
            not settings.content_tenants or tenant in settings.content_tenants
        )

    # -- what is measured here ---------------------------------------------------------------

    def processed(self, durable: str, delivery: Delivery, outcome: str, seconds: float) -> None:
        """Tell of a delivery that was handled just now."""
        work = partial(self._processed, durable, delivery, outcome, seconds, self._now())
        self._later.do(work)

    def _processed(
        self, durable: str, delivery: Delivery, outcome: str, seconds: float, end: int
    ) -> None:
        recorded = delivery.recorded
        context = caused_by(recorded.envelope)
        error = {names.ERROR: outcome} if outcome in REFUSED else {}
        if self._metrics:
            attributes: dict[str, Value] = {
                names.MESSAGING_SYSTEM: names.NATS,
                names.MESSAGING_OPERATION: names.PROCESS,
                names.CONSUMER_GROUP: durable,
                names.TENANT: recorded.subject.split(".")[1],
                **error,
            }
            self._add(names.PROCESS_DURATION, seconds, attributes)
            self._add(names.CONSUMED_MESSAGES, 1, attributes)
        if not context.sampled:
            return
        attributes = {
            **common(recorded.subject),
            **messaging(recorded, names.PROCESS),
            names.CONSUMER_GROUP: durable,
            names.SUBSCRIPTION: durable,
            names.NATS_DELIVERIES: delivery.attempt,
            names.DELIVERY: outcome,
            **error,
        }
        name = f"{names.PROCESS} {destination(recorded.subject)}"
        self._leaf(name, SpanKind.CONSUMER, context, (seconds, end), attributes)

    @contextmanager
    def sending(self, *subjects: str) -> Iterator[None]:
        """Measure an append: one operation, of so many messages."""
        if not self._metrics:
            yield
            return
        failed: str | None = None
        started = perf_counter()
        try:
            yield
        except Exception as error:
            failed = type(error).__name__
            raise
        finally:
            seconds = perf_counter() - started
            self._later.do(partial(self._sent, subjects, seconds, failed))

    def _sent(self, subjects: Sequence[str], seconds: float, error: str | None) -> None:
        attributes: dict[str, Value] = {
            names.MESSAGING_SYSTEM: names.NATS,
            names.MESSAGING_OPERATION: names.SEND,
        }
        if error is not None:
            attributes[names.ERROR] = error
        numbers = Counter(map(destination, subjects))
        for template, number in numbers.items():
            to = {**attributes, names.DESTINATION_TEMPLATE: template}
            self._add(names.SENT_MESSAGES, number, to)
        # A batch to several templates is one operation, which is of none of them alone.
        one = {names.DESTINATION_TEMPLATE: template} if len(numbers) == 1 else {}
        self._add(names.SENT_DURATION, seconds, {**attributes, **one})

    def operated(self, operation: Operation) -> None:
        """Tell of something that was done just now."""
        self._later.do(partial(self._operated, operation, self._now()))

    def _operated(self, operation: Operation, end: int) -> None:
        attributes = {names.OPERATION: operation.name, **operation.attributes}
        if operation.tenant:
            attributes[names.TENANT] = operation.tenant
        if operation.error is not None:
            attributes[names.ERROR] = operation.error
        wanted = (
            *(names.OPERATION, names.PROVIDER, names.REQUEST_MODEL),
            *(names.TENANT, names.ERROR),
        )
        counted = {name: attributes[name] for name in wanted if name in attributes}
        self._add(names.OPERATION_DURATION, operation.seconds, counted)
        context = operation.context
        if context is None or not context.sampled:
            return
        if self.words_of(operation.tenant):
            limit = self._settings.content_bytes
            said = {name: _plain(it, limit) for name, it in operation.said.items()}
            attributes.update(said)
        name = f"{operation.name} {operation.target}"
        self._leaf(name, SpanKind.CLIENT, context, (operation.seconds, end), attributes)

    def _now(self) -> int:
        return self._clock.now() * 1_000  # nanoseconds, as the SDK has it

    def _leaf(
        self,
        name: str,
        kind: SpanKind,
        context: TraceContext,
        lasted: tuple[float, int],
        attributes: Mapping[str, Value],
    ) -> None:
        """Tell a span that lasted so many seconds and ended at these nanoseconds."""
        seconds, end = lasted
        span = self._tracer.start_span(
            name,
            _below(context.trace_id, context.span_id),
            kind,
            attributes,
            start_time=end - round(seconds * 1_000_000_000),
        )
        if names.ERROR in attributes:
            span.set_status(StatusCode.ERROR)
        span.end(end)

    # -- what the log tells ------------------------------------------------------------------

    def measure(self, spans: Sequence[Span]) -> None:
        """Count what spans tell into the metrics."""
        for span in spans:
            for it in measured(span):
                self._add(it.name, it.value, it.attributes)

    def observe(self, name: str, label: str, values: Mapping[str, float]) -> None:
        """Set the values of a gauge."""
        self._meters.observe(name, label, values)

    def _add(self, name: str, value: float, attributes: Mapping[str, Value]) -> None:
        if self._metrics:
            self._meters.add(name, value, attributes)

    async def export(self, spans: Sequence[tuple[Span, Mapping[str, str]]]) -> bool:
        """Send spans; tell whether they were taken."""

        def export() -> bool:
            made = self._told.made(spans)
            results = [exporter.export(made) for exporter in self._exporters if made]
            return all(result is SpanExportResult.SUCCESS for result in results)

        return await aside(export)

    async def close(self) -> None:
        """Send what is left, for a moment."""
        self._later.finish()

        def close() -> None:
            for exporter in self._exporters:
                exporter.shutdown()
            self._live.force_flush(round(FLUSH_S * 1_000))
            self._live.shutdown()
            self._meters.close(FLUSH_S * 1_000)

        try:
            async with asyncio.timeout(FLUSH_S):
                await aside(close)
        except TimeoutError:
            log.warning("telemetry.lost", reason="the collector does not answer")
        except Exception as error:  # noqa: BLE001 - a process that stops is not kept by its spans
            log.warning("telemetry.lost", reason=repr(error))


class _Told(SpanProcessor, IdGenerator):
    """Makes spans of the SDK, with the ids, times and parents that the log gives them."""

    def __init__(self, resource: Resource) -> None:
        self._ids = (0, 0)
        self._ended: list[ReadableSpan] = []
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self)
        provider.add_span_processor(self)
        self._tracer = provider.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)

    def generate_trace_id(self) -> int:
        """Return the id of the trace whose root is being made."""
        return self._ids[0]

    def generate_span_id(self) -> int:
        """Return the id of the span that is being made."""
        return self._ids[1]

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that is complete."""
        self._ended.append(span)

    def made(self, spans: Sequence[tuple[Span, Mapping[str, str]]]) -> list[ReadableSpan]:
        """Return spans as exporters take them."""
        self._ended = []
        for span, words in spans:
            self._make(span, words)
        return self._ended

    def _make(self, span: Span, words: Mapping[str, str]) -> None:
        self._ids = int(span.trace_id, 16), int(span.span_id, 16)
        parent = Context() if span.parent_id is None else _below(span.trace_id, span.parent_id)
        attributes = {**span.attributes, **words}
        if span.error is not None:
            attributes[names.ERROR] = span.error
        made = self._tracer.start_span(
            span.name,
            parent,
            KINDS[span.kind],
            attributes,
            [Link(_context(link.trace_id, link.span_id)) for link in span.links],
            start_time=span.start * 1_000,
        )
        for moment in span.moments:
            made.add_event(moment.name, moment.attributes, moment.at * 1_000)
        if span.error is not None:
            made.set_status(Status(StatusCode.ERROR, safe(span.detail, DETAIL) or span.error))
        made.end(max(span.end, span.start) * 1_000)


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(1)
    )


def _below(trace_id: str, span_id: str) -> Context:
    return set_span_in_context(NonRecordingSpan(_context(trace_id, span_id)), Context())


def _plain(said: Said, limit: int) -> str:
    return safe(said.text, limit) if isinstance(said.text, str) else ""


def _span_exporter(name: str) -> SpanExporter:
    return OTLPSpanExporter() if name == "otlp" else ConsoleSpanExporter()


def _metric_exporter(name: str) -> MetricExporter:
    return OTLPMetricExporter() if name == "otlp" else ConsoleMetricExporter()
