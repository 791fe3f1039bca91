"""A collector of ours: takes OTLP over HTTP on a real socket and decodes the protobuf."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.servers import until


@dataclass(frozen=True)
class Seen:
    """One span as it came over the wire."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start: int
    end: int
    attributes: dict
    links: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    status: int
    detail: str
    resource: dict
    schema_url: str

    @property
    def operation(self) -> str:
        return self.name.partition(" ")[0]


@dataclass(frozen=True)
class Point:
    """One value of a metric as it came over the wire."""

    name: str
    unit: str
    attributes: dict
    value: float
    """Sum of a counter or a histogram, value of a gauge."""
    count: int


@dataclass
class Collector:
    """What has come so far."""

    url: str
    spans: dict[tuple[str, str], Seen] = field(default_factory=dict)
    """By trace and span: what is told again is the same span."""
    told: int = 0
    """Spans with those that were told again."""
    points: list[Point] = field(default_factory=list)
    refuse: int = 0
    """Requests with spans that are still to be answered with 503."""
    refused: int = 0
    lock: Lock = field(default_factory=Lock)

    def take(self, path: str, body: bytes) -> tuple[int, bytes]:
        with self.lock:
            if path == "/v1/metrics":
                self.points += _points(ExportMetricsServiceRequest.FromString(body))
                return 200, ExportMetricsServiceResponse().SerializeToString()
            if path != "/v1/traces":
                return 404, b""
            if self.refuse:
                self.refuse -= 1
                self.refused += 1
                return 503, b""
            for span in _spans(ExportTraceServiceRequest.FromString(body)):
                self.told += 1
                self.spans[span.trace_id, span.span_id] = span
            return 200, ExportTraceServiceResponse().SerializeToString()

    def all(self) -> list[Seen]:
        with self.lock:
            return list(self.spans.values())

    def trace(self, trace_id: str) -> list[Seen]:
        return sorted((it for it in self.all() if it.trace_id == trace_id), key=lambda it: it.start)

    def orphans(self, trace_id: str) -> list[Seen]:
        """Return the spans of a trace whose parent has not come."""
        spans = self.trace(trace_id)
        known = {it.span_id for it in spans}
        return [it for it in spans if it.parent_id is not None and it.parent_id not in known]

    async def has(
        self, wanted: Callable[[Seen], object], *, timeout_s: float = 30.0, count: int = 1
    ) -> list[Seen]:
        """Wait for so many spans that `wanted` takes."""
        found: list[Seen] = []

        async def there() -> bool:
            found[:] = [it for it in self.all() if wanted(it)]
            return len(found) >= count

        try:
            await until(there, timeout_s=timeout_s)
        except TimeoutError:
            names = "\n".join(
                sorted(
                    f"{it.trace_id[:6]} {it.parent_id} {it.span_id} {it.name}" for it in self.all()
                )
            )
            raise AssertionError(f"the span did not come; there are:\n{names}") from None
        return found

    async def whole(self, trace_id: str, *, timeout_s: float = 30.0) -> list[Seen]:
        """Wait until every parent in a trace has come; return it."""

        async def complete() -> bool:
            return not self.orphans(trace_id)

        try:
            await until(complete, timeout_s=timeout_s)
        except TimeoutError:
            raise AssertionError(f"without a parent: {self.orphans(trace_id)}") from None
        return self.trace(trace_id)


@contextmanager
def collector() -> Iterator[Collector]:
    """Listen on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.headers["Content-Type"] == "application/x-protobuf"
            status, answer = taken.take(self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    taken = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def variables(url: str, **more: str) -> dict[str, str]:
    """Return what makes a process tell the collector everything, soon."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        **more,
    }


def _spans(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in request.resource_spans:
        about = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    name=span.name,
                    kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex() or None,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    links=tuple((it.trace_id.hex(), it.span_id.hex()) for it in span.links),
                    events=tuple(it.name for it in span.events),
                    status=span.status.code,
                    detail=span.status.message,
                    resource=about,
                    schema_url=scope.schema_url,
                )


def _points(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.histogram.data_points:
                    attributes = _attributes(point.attributes)
                    yield Point(metric.name, metric.unit, attributes, point.sum, point.count)
                for point in (*metric.sum.data_points, *metric.gauge.data_points):
                    value = point.as_double or point.as_int
                    attributes = _attributes(point.attributes)
                    yield Point(metric.name, metric.unit, attributes, value, 1)


def _attributes(pairs) -> dict:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(it) for it in value.array_value.values]
    return getattr(value, kind)
