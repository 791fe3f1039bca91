"""The trace context: what an event carries, and what happens where nobody asked for traces."""

import subprocess
import sys

import pytest

from schemas.base import EventId
from schemas.envelope import seal
from services.runtime.telemetry import context
from services.runtime.telemetry.context import ROOTS, UNTRACED, TraceContext, parsed, span_of
from services.runtime.writer import Writer
from tests.support.builders import message
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def traced(monkeypatch):
    monkeypatch.setattr(ROOTS, "sampler", lambda trace_id: True)


@pytest.fixture
def writer():
    return Writer(FakeLog(), FakeClock(), "test")


def received(traceparent=HEADER):
    return seal(message("hi"), id=EventId("m1"), at=1, actor="test", traceparent=traceparent)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ],
)
def test_what_is_no_header_of_the_standard_is_none(header):
    assert parsed(header) is None


def test_a_header_of_a_later_version_is_read_as_far_as_it_is_known():
    assert parsed(f"01{HEADER[2:]}-more") == parsed(HEADER)


def test_a_header_is_read_and_written_alike():
    found = parsed(HEADER)
    assert found.header == HEADER
    assert found.sampled
    assert not parsed(HEADER[:-1] + "0").sampled


def test_an_event_begins_no_trace_where_nobody_asked_for_traces(writer):
    assert writer.seal(message("hi")).traceparent is None


def test_an_event_that_nothing_led_to_begins_a_trace_whose_id_follows_from_its_own(traced, writer):
    one, again = (writer.seal(message("hi"), id=EventId("m1")) for _ in range(2))
    assert one.traceparent == again.traceparent
    assert parsed(one.traceparent).span_id == span_of("m1")
    assert writer.seal(message("hi"), id=EventId("m2")).traceparent != one.traceparent


def test_a_trace_that_is_not_sampled_says_so_to_all_that_follows(monkeypatch, writer):
    monkeypatch.setattr(ROOTS, "sampler", lambda trace_id: False)
    begun = writer.seal(message("hi"))
    assert begun.traceparent.endswith("-00")
    with context.handling(begun):
        assert writer.seal(message("hi")).traceparent.endswith("-00")


def test_what_is_appended_while_an_event_is_handled_belongs_to_its_trace(writer):
    with context.handling(received()):
        inside = parsed(writer.seal(message("hi")).traceparent)
    assert inside.trace_id == parsed(HEADER).trace_id
    assert inside.span_id == span_of("m1")
    assert context.current() is None


def test_what_an_untraced_event_leads_to_begins_no_trace(traced, writer):
    with context.handling(received(traceparent=None)):
        assert writer.seal(message("hi")).traceparent is None


def test_spans_within_one_another_are_the_same_whoever_names_them(writer):
    def named():
        with context.handling(received()), context.within("run"), context.within("s1c0"):
            return parsed(writer.seal(message("hi")).traceparent).span_id

    assert named() == named() == span_of(span_of(span_of("m1"), "run"), "s1c0")


def test_a_caller_is_joined_only_where_traces_are_asked_for(monkeypatch, writer):
    with context.joining(HEADER):
        assert writer.seal(message("hi")).traceparent is None
    monkeypatch.setattr(ROOTS, "sampler", lambda trace_id: True)
    with context.joining(HEADER):
        assert writer.seal(message("hi")).traceparent == HEADER
    with context.joining("nonsense"):
        assert parsed(writer.seal(message("hi")).traceparent).trace_id != parsed(HEADER).trace_id


def test_going_on_with_an_untraced_event_leaves_the_trace_that_one_is_in(writer):
    with context.handling(received()):
        context.go_on(None)
        assert context.current() is UNTRACED
        assert writer.seal(message("hi")).traceparent is None
        context.go_on(HEADER, "m2")
        assert context.current() == TraceContext(*HEADER.split("-")[1:2], span_of("m2"))
    assert context.current() is None


def test_no_process_imports_the_sdk_that_is_not_asked_for_it():
    look = (
        "import sys, services.runtime.process, services.projector.loops, services.api.loops; "
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
