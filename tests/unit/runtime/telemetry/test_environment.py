"""What the standard variables ask for, and what of it is refused with the reason."""

import pytest

from services.runtime.settings import check
from services.runtime.telemetry.environment import Wanted, problems, wanted

BOTH = Wanted(("otlp",), ("otlp",))
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, Wanted()),
        ({"OTEL_SERVICE_NAME": "mine", "OTEL_TRACES_SAMPLER": "always_on"}, Wanted()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, Wanted()),
        (ENDPOINT, BOTH),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, Wanted()),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "no"}, BOTH),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, Wanted((), ("otlp",))),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/t"}, Wanted(("otlp",), ())),
        ({"OTEL_METRICS_EXPORTER": "otlp, console"}, Wanted((), ("otlp", "console"))),
        ({"OTEL_TRACES_EXPORTER": "otlp,none,otlp"}, Wanted(("otlp",), ())),
    ],
)
def test_exporters_are_those_that_are_named_or_that_an_endpoint_implies(environ, found):
    assert wanted(environ) == found
    assert problems(environ) == []


def test_what_cannot_be_had_is_refused_with_what_can():
    environ = ENDPOINT | {
        "OTEL_TRACES_EXPORTER": "zipkin",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    assert problems(environ) == [
        "OTEL_TRACES_EXPORTER: there is no exporter 'zipkin'; there are: otlp, console, none",
        "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' is not spoken here; http/protobuf is",
    ]
    assert [it.level for it in check(environ=environ)] == ["error", "error"]


def test_a_protocol_that_nobody_uses_is_no_problem():
    assert problems({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) == []
