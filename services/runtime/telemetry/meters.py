"""Instruments of the SDK behind a list: a measurement costs its caller next to nothing.

The SDK takes some 20 microseconds for each, a turn has about thirty, and most of them are made
while somebody waits. So they are kept until metrics are collected, which a thread of the SDK does.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock, Thread
from typing import Final

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource

from services.runtime.telemetry import names
from services.runtime.telemetry.span import Value

MOST: Final = 5_000  # kept measurements; more are handed over before they are collected


class Meters:
    """The instruments of one process."""

    def __init__(self, readers: Sequence[MetricReader], resource: Resource) -> None:
        self._provider = MeterProvider(readers, resource, shutdown_on_exit=False)
        self._meter = self._provider.get_meter(names.SCOPE, schema_url=names.SCHEMA_URL)
        self._instruments: dict[str, Counter | Histogram] = {}
        self._kept: deque[tuple[str, float, Mapping[str, Value]]] = deque()
        self._gauges: dict[str, tuple[str, Mapping[str, float]]] = {}
        self._handing_over = Lock()
        for name in names.GAUGES:
            self._meter.create_observable_gauge(name, [self._observing(name)], names.UNITS[name])

    def add(self, name: str, value: float, attributes: Mapping[str, Value]) -> None:
        """Keep a measurement."""
        self._kept.append((name, value, attributes))
        if len(self._kept) == MOST:
            Thread(target=self.hand_over, daemon=True).start()

    def observe(self, name: str, label: str, values: Mapping[str, float]) -> None:
        """Keep what a gauge shows from now on, by the value of its one label."""
        self._gauges[name] = (label, values)

    def hand_over(self) -> None:
        """Give the SDK what was kept."""
        with self._handing_over:
            while self._kept:
                name, value, attributes = self._kept.popleft()
                instrument = self._instruments.get(name)
                if instrument is None:
                    instrument = self._instruments[name] = self._made(name)
                if isinstance(instrument, Counter):
                    instrument.add(value, attributes)
                else:
                    instrument.record(value, attributes)

    def close(self, timeout_ms: float) -> None:
        """Collect for the last time."""
        self._provider.shutdown(timeout_ms)

    def _made(self, name: str) -> Counter | Histogram:
        unit = names.UNITS[name]
        if name in names.COUNTERS:
            return self._meter.create_counter(name, unit)
        buckets = names.BUCKETS_TOKENS if unit == "{token}" else names.BUCKETS_S
        return self._meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=buckets)

    def _observing(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            self.hand_over()  # gauges are asked before the others are collected
            label, values = self._gauges.get(name, ("", {}))
            return [Observation(number, {label: value}) for value, number in values.items()]

        return observed
