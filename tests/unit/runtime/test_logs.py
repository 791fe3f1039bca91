"""Log lines are JSON for machines, plain for people, and quiet about libraries."""

import io
import json
import logging

import pytest
import structlog

from services.runtime import logs
from services.runtime.secret import Secret
from services.runtime.telemetry import context


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def undone():
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in logs.NOISY:
        logging.getLogger(name).disabled = False  # LiteLLM's is, where it was imported before
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(stream=None, **options):
    stream = stream or io.StringIO()
    logs.configure(service="channel", stream=stream, **options)
    return stream


def test_a_line_is_json_with_its_service_level_and_time():
    stream = configured()
    structlog.get_logger().info("event.consumed", seq=7)
    [line] = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {"event": "event.consumed", "level": "info", "service": "channel", "seq": 7}


def test_what_is_bound_to_the_delivery_is_on_every_line_and_may_name_the_service():
    stream = configured()
    with structlog.contextvars.bound_contextvars(service="worker", turn="t1"):
        structlog.get_logger().info("tool.called")
    [line] = lines(stream)
    assert (line["service"], line["turn"]) == ("worker", "t1")


def test_a_terminal_gets_colours_unless_json_is_asked_for():
    stream = configured(Terminal())
    structlog.get_logger().info("event.consumed", seq=7)
    assert "\x1b[" in stream.getvalue()
    stream = configured(Terminal(), format="json")
    structlog.get_logger().info("event.consumed", seq=7)
    assert lines(stream)[0]["seq"] == 7


def test_lines_below_the_level_are_not_written():
    stream = configured(level="warning")
    structlog.get_logger().info("event.consumed")
    structlog.get_logger().warning("nats.slow")
    assert [line["event"] for line in lines(stream)] == ["nats.slow"]


@pytest.mark.parametrize("library", ["LiteLLM", "uvicorn.error", "nats.aio.client", "httpx"])
def test_libraries_are_heard_from_warnings_on_in_our_shape(library):
    stream = configured(level="debug")
    logging.getLogger(library).info("chatter")
    logging.getLogger(library).warning("slow %s", "answer")
    [line] = lines(stream)
    assert (line["event"], line["logger"]) == ("slow answer", library)
    assert (line["level"], line["service"]) == ("warning", "channel")


def test_a_library_that_writes_lines_of_its_own_is_stopped():
    stream = configured()
    own = io.StringIO()
    logging.getLogger("LiteLLM").addHandler(logging.StreamHandler(own))
    logs.quieten(logs.NOISY)
    logging.getLogger("LiteLLM").warning("once")
    assert own.getvalue() == ""
    assert len(lines(stream)) == 1


def fail(private):
    raise ValueError(len(private))


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_does_not_show_variables(style):
    stream = configured(format=style)
    try:
        fail("what " + "somebody wrote")
    except ValueError:
        structlog.get_logger().exception("turn.failed", token=Secret("hunter2"))
        logging.getLogger("asyncio").exception("lost")
    text = stream.getvalue()
    assert text.count("ValueError: 19") == 2
    assert "what somebody wrote" not in text
    assert "hunter2" not in text


def test_lines_about_a_traced_event_say_the_ids_of_its_trace_and_span_whoever_writes_them():
    stream = configured()
    header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with context.joining(header):  # nobody asked for traces
        structlog.get_logger().info("before")
    before = context._CURRENT.set(context.parsed(header))
    try:
        structlog.get_logger().info("ours")
        logging.getLogger("a.library").warning("theirs")
    finally:
        context._CURRENT.reset(before)
    before, *traced = lines(stream)
    assert "trace_id" not in before
    assert [line["event"] for line in traced] == ["ours", "theirs"]
    for line in traced:
        assert (line["trace_id"], line["span_id"]) == tuple(header.split("-")[1:3])
