"""What Prometheus is told: requests, streams, the log's length, lags, open runs, the process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from services.api.vitals import Vitals

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
STREAM_SUFFIX: Final = "/stream"  # its requests last as long as a page is open: no durations


disable_created_metrics()  # type: ignore[no-untyped-call]  # one series less for each, unasked for


class Meter:
    """The numbers of one process's interface."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "penstock_http_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "penstock_http_request_seconds",
            "Time to the end of the answer, streams left out.",
            ("method", "route"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._streams = Gauge("penstock_http_streams", "Open event streams.", registry=registry)
        self.open_streams = 0
        self._up = Gauge("penstock_up", "1 where the part answers.", ("part",), registry=registry)
        self._end = Gauge(
            "penstock_log_last_sequence",
            "Events ever appended to the log: its last sequence.",
            registry=registry,
        )
        self._lag = Gauge(
            "penstock_projection_lag_events",
            "Events that a read model is behind the end of the log.",
            ("projection",),
            registry=registry,
        )
        self._open_runs = Gauge(
            "penstock_open_runs",
            "Turns, branches and workers that have not ended.",
            ("tenant", "kind", "state"),
            registry=registry,
        )

        self._budget = Gauge(
            "penstock_budget",
            "What a budget allows, and what its period has used, in dollars, tokens or calls.",
            ("tenant", "budget", "unit", "state"),
            registry=registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; a status of 0 is one whose caller left before the answer."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        if not route.endswith(STREAM_SUFFIX):
            self._seconds.labels(method, route).observe(seconds)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count one more open stream while the block runs."""
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1

    def text(self, vitals: Vitals) -> bytes:
        """Return everything in Prometheus's text format."""
        self._streams.set(self.open_streams)
        self._up.labels("log").set(vitals.end is not None)
        self._up.labels("database").set(vitals.lags is not None)
        if vitals.end is not None:
            self._end.set(vitals.end)
        self._lag.clear()
        for projection, lag in (vitals.lags or {}).items():
            self._lag.labels(projection).set(lag)
        self._open_runs.clear()
        for each in vitals.open_runs:
            self._open_runs.labels(each.tenant, each.kind, each.state).set(each.count)
        self._budget.clear()
        for tenant, standings in vitals.budgets.items():
            for it in standings:
                for state in ("limit", "spent", "reserved"):
                    gauge = self._budget.labels(tenant, it.budget, it.unit, state)
                    gauge.set(getattr(it, state))
        return generate_latest(self._registry)
