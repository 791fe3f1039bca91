"""The SDK in our hands: spans keep the ids that the log gives them, no measurement is lost."""

import os
import socket
import subprocess
import sys
from threading import Thread

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from services.runtime import ids
from services.runtime.config import TelemetrySettings
from services.runtime.telemetry import names
from services.runtime.telemetry.context import trace_of
from services.runtime.telemetry.environment import Wanted
from services.runtime.telemetry.meters import MOST, Meters
from services.runtime.telemetry.sdk import Sdk, _Told
from services.runtime.telemetry.span import Link, Moment, Span
from tests.support.builders import START
from tests.support.fake_clock import FakeClock

TRACE, PARENT, OWN, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00" * 7 + "aa", "b" * 16, "c" * 16


def span(**fields):
    given = {
        "operation": "chat",
        "name": "chat x",
        "kind": "client",
        "trace_id": TRACE,
        "span_id": OWN,
        "parent_id": PARENT,
        "start": START,
        "end": START + 5,
        "attributes": {"a": 1, "b": ("c",)},
    }
    return Span(**(given | fields))


def test_a_span_is_told_with_the_ids_and_times_that_it_was_given():
    told = _Told(Resource.create({}))
    moment = Moment(name="taken_over", at=START + 2, attributes={"n": 2})
    root = span(parent_id=None, span_id=PARENT)
    made, parent = told.made(
        [(span(links=(Link(TRACE, OTHER),), moments=(moment,)), {}), (root, {})]
    )
    assert f"{made.context.trace_id:032x}" == TRACE
    assert f"{made.context.span_id:016x}" == OWN
    assert f"{made.parent.span_id:016x}" == PARENT
    assert parent.parent is None
    assert f"{parent.context.span_id:016x}" == PARENT
    assert (made.start_time, made.end_time) == (START * 1_000, (START + 5) * 1_000)
    assert made.kind is SpanKind.CLIENT
    assert dict(made.attributes) == {"a": 1, "b": ("c",)}
    assert [f"{it.context.span_id:016x}" for it in made.links] == [OTHER]
    assert [(it.name, it.timestamp) for it in made.events] == [("taken_over", (START + 2) * 1_000)]
    assert made.status.status_code is StatusCode.UNSET


def test_a_failure_is_told_with_its_kind_and_no_secret():
    (made,) = _Told(Resource.create({})).made(
        [(span(error="refused", detail="key sk-abcdefghij123456"), {})]
    )
    assert made.attributes[names.ERROR] == "refused"
    assert made.status.status_code is StatusCode.ERROR
    assert made.status.description == "key [redacted]"


def points(reader, name):
    data = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


def test_measurements_are_collected_whoever_makes_them_and_however_many():
    reader = InMemoryMetricReader()
    meters = Meters([reader], Resource.create({}))

    def measure():
        for _ in range(MOST):
            meters.add(names.SENT_MESSAGES, 1, {"who": "one"})
            meters.add(names.SENT_DURATION, 0.03, {"who": "one"})

    threads = [Thread(target=measure) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (sent,) = points(reader, names.SENT_MESSAGES)
    assert sent.value == 3 * MOST
    (took,) = points(reader, names.SENT_DURATION)
    assert took.count == 3 * MOST
    assert took.explicit_bounds == names.BUCKETS_S


def test_a_gauge_shows_what_was_last_observed():
    reader = InMemoryMetricReader()
    meters = Meters([reader], Resource.create({}))
    meters.observe(names.CONSUMER_LAG, "consumer", {"channel": 4, "gone": 1})
    meters.observe(names.CONSUMER_LAG, "consumer", {"channel": 0})
    shown = {it.attributes["consumer"]: it.value for it in points(reader, names.CONSUMER_LAG)}
    assert shown == {"channel": 0}


@pytest.mark.parametrize(
    ("variables", "sampled"),
    [
        ({}, 1_000),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, 250),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            250,
        ),
    ],
)
async def test_the_sampler_of_the_environment_decides_and_ids_are_even_enough(
    monkeypatch, variables, sampled
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings, clock = TelemetrySettings(), FakeClock()
    sdk = Sdk(Wanted(("console",)), settings, clock, service="x", instance="y")
    begun = [*(ids.new() for _ in range(500)), *(ids.derived("m", str(n)) for n in range(500))]
    assert sum(sdk.samples(trace_of(it)) for it in begun) == pytest.approx(sampled, abs=70)
    await sdk.close()


ENDS = """
import asyncio
from services.runtime.clock import SystemClock
from services.runtime.config import TelemetrySettings
from services.runtime.telemetry import names
from services.runtime.telemetry.context import TraceContext
from services.runtime.telemetry.environment import Wanted
from services.runtime.telemetry.live import Operation
from services.runtime.telemetry.sdk import Sdk
from tests.unit.runtime.telemetry.test_sdk import OWN, TRACE, span

async def main():
    both = Wanted(("otlp",), ("otlp",))
    sdk = Sdk(both, TelemetrySettings(), SystemClock(), service="x", instance="y")
    context = TraceContext(TRACE, OWN)
    sdk.operated(Operation("retrieval", "x", "", {}, {}, context, 0.1))
    exporting = asyncio.create_task(sdk.export([(span(), {})]))
    await asyncio.sleep(0)
    exporting.cancel()
    await sdk.close()

asyncio.run(main())
"""


def test_a_collector_that_never_answers_does_not_keep_a_process_from_ending():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3600",
        }
        command = [sys.executable, "-c", ENDS]
        ended = subprocess.run(command, env=environment, timeout=50, check=False)
    assert ended.returncode == 0
