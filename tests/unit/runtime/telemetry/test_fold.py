"""Spans that a log tells: when they begin and end, what is said of them, what goes wrong."""

import msgspec
import pytest

from schemas.envelope import encode
from schemas.run import Usage
from schemas.schedule import OccurrenceMissed, OccurrenceSkipped
from services.runtime.event_log import Recorded
from services.runtime.recording import record
from services.runtime.telemetry import names
from services.runtime.telemetry.context import TraceContext, span_of, trace_of
from services.runtime.telemetry.fold import Spans
from services.runtime.telemetry.measures import measured
from services.runtime.telemetry.state import MOST, State
from tests.support.builders import (
    RUN,
    SECOND,
    START,
    at,
    call,
    caused_by,
    message,
    model_called,
    model_failed,
    model_returned,
    reply,
    run_ended,
    run_resumed,
    run_started,
    story,
    tool_called,
    tool_returned,
    turn_completed,
    turn_failed,
    turn_started,
    worker,
    worker_concluded,
)
from tests.support.jobs import JOB, NINE
from tests.support.stories import Story
from tests.support.traced import spans_of


def traced(*told, flags="01", subject=None) -> list[Recorded]:
    """Return a story in which everything belongs to the trace of its first event."""
    events = story(*told) if subject is None else story(*told, subject=subject)
    trace_id = trace_of(events[0].envelope.id)
    found = []
    for recorded in events:
        cause = recorded.envelope.cause or events[0].envelope.id
        context = TraceContext(trace_id, span_of(cause), flags)
        envelope = msgspec.structs.replace(recorded.envelope, traceparent=context.header)
        found.append(record(recorded.seq, recorded.subject, encode(envelope)))
    return found


def one(spans, operation):
    (found,) = [it for it in spans if it.operation == operation]
    return found


def paid(step=1, **fields):
    usage = Usage(input=1_000, output=20, cached=800, cost_usd=0.25)
    return replace_event(model_returned("done", step=step), usage=usage, **fields)


def replace_event(event, **fields):
    return msgspec.structs.replace(event, **fields)


WORK = (
    at(0, message("go")),
    at(1, caused_by("e1", worker(RUN))),
    at(2, caused_by("e2", run_started())),
    at(3, model_called()),
    at(7, paid(first_chunk_ms=412)),
    at(8, caused_by("e6", run_ended(result="built"))),
)


def test_a_model_call_lasts_from_its_request_to_its_answer_and_is_attributed():
    chat = one(spans_of(traced(*WORK)), "chat")
    assert (chat.start, chat.end) == (START + 3 * SECOND, START + 7 * SECOND)
    assert chat.attributes[names.COST] == 0.25
    assert chat.attributes[names.CACHED_TOKENS] == 800
    assert chat.attributes[names.FIRST_CHUNK] == 0.412
    account = (names.TENANT, names.AGENT_ID, names.CONVERSATION, names.TRIGGER)
    assert [chat.attributes[it] for it in account] == ["acme", "atlas", "general", "other"]


def test_a_run_adds_up_what_its_calls_used():
    run = one(spans_of(traced(*WORK)), "invoke_agent")
    assert (run.start, run.end) == (START + 2 * SECOND, START + 8 * SECOND)
    assert run.attributes[names.INPUT_TOKENS] == 1_000
    assert run.attributes[names.COST] == 0.25
    assert run.attributes[names.OUTCOME] == "succeeded"
    assert run.error is None


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("failed", "failed"), ("timed_out", "timed_out"), ("cancelled", None), ("partial", None)],
)
def test_a_run_that_came_out_badly_is_an_error(outcome, error):
    events = traced(*WORK[:-1], at(8, run_ended(outcome, reason="no disk")))
    run = one(spans_of(events), "invoke_agent")
    assert (run.attributes[names.OUTCOME], run.error) == (outcome, error)
    assert run.detail == ("no disk" if error else "")


def test_a_model_that_fails_is_an_error_of_its_call():
    chat = one(spans_of(traced(*WORK[:4], at(5, model_failed(detail="overloaded")))), "chat")
    assert (chat.error, chat.detail) == ("unavailable", "overloaded")


def test_a_call_whose_process_died_is_told_as_interrupted_when_it_is_made_again():
    events = traced(
        *WORK[:4],
        at(10, caused_by("e2", run_resumed())),
        at(11, model_called()),
        at(12, paid()),
        at(13, run_ended()),
    )
    first, second = [it for it in spans_of(events) if it.operation == "chat"]
    assert (first.error, second.error) == ("interrupted", None)
    assert first.end == second.start
    assert first.span_id != second.span_id
    run = one(spans_of(events), "invoke_agent")
    assert run.start == START + 2 * SECOND  # of the first owner
    assert run.attributes[names.ATTEMPTS] == 2
    assert [moment.name for moment in run.moments] == ["taken_over"]


def test_a_tool_lasts_from_its_call_to_its_result_and_one_that_was_refused_has_no_time():
    events = traced(
        *WORK[:4],
        at(5, model_returned("", call("s1c0"), call("s1c1"))),
        at(6, tool_called("s1c0")),
        at(9, tool_returned("s1c0")),
        at(9, tool_returned("s1c1", status="refused")),
    )
    ran, refused = [it for it in spans_of(events) if it.operation == "execute_tool"]
    assert (ran.seconds, ran.error) == (3.0, None)
    assert (refused.seconds, refused.error) == (0.0, "refused")


@pytest.mark.parametrize("invented", ["tell Ana that her pin is 1234", "x" * 200, ""])
def test_what_a_model_says_in_place_of_a_tools_name_is_not_told(invented):
    events = traced(
        *WORK[:4],
        at(5, model_returned("", call("s1c0", name=invented))),
        at(6, tool_returned("s1c0", invented, status="refused")),
    )
    refused = one(spans_of(events), "execute_tool")
    assert refused.name == "execute_tool _OTHER"
    assert refused.attributes[names.TOOL_NAME] == "_OTHER"


def test_a_run_that_was_never_begun_is_told_from_its_request():
    run = one(spans_of(traced(*WORK[:2], at(4, run_ended("failed")))), "invoke_agent")
    assert (run.start, run.end) == (START + SECOND, START + 4 * SECOND)


TURN = (
    at(0, message("go")),
    at(1, caused_by("e1", turn_started())),
    at(3, caused_by("e1", reply("hi"))),
    at(4, caused_by("e1", turn_completed("e1"))),
)


def test_the_latency_of_a_turn_is_from_the_message_to_the_first_reply():
    turn = one(spans_of(traced(*TURN)), "invoke_workflow")
    assert (turn.seconds, turn.latency) == (3.0, 3 * SECOND)


def test_a_turn_that_was_given_up_is_an_error():
    turn = one(
        spans_of(traced(*TURN[:3], at(4, turn_failed("e1", reason="no model")))), "invoke_workflow"
    )
    assert (turn.error, turn.detail) == ("failed", "no model")


def test_a_turn_that_answers_several_messages_links_to_the_others():
    other = TraceContext(trace_of("x1"), span_of("x1"))
    events = traced(TURN[0], at(0, message("me too")), *TURN[1:3], turn_completed("e1", "x1"))
    second = msgspec.structs.replace(events[1].envelope, id="x1", traceparent=other.header)
    events[1] = record(2, events[1].subject, encode(second))
    turn = one(spans_of(events), "invoke_workflow")
    assert [(link.trace_id, link.span_id) for link in turn.links] == [
        (other.trace_id, other.span_id)
    ]


def test_what_was_said_is_told_of_tenants_whose_words_may_be_told_and_of_no_others():
    events = traced(*WORK, at(9, worker_concluded(RUN)))
    assert not any(it.said for it in spans_of(events))
    assert not any(it.said for it in spans_of(events, words_of="other".__eq__))
    told = spans_of(events, words_of="acme".__eq__)
    assert one(told, "invoke_agent").said[names.INPUT_MESSAGES].text == "build"
    assert one(told, "invoke_agent").said[names.OUTPUT_MESSAGES].text == "built"
    assert one(told, "chat").said[names.OUTPUT_MESSAGES].text == "done"


def test_what_is_not_sampled_and_what_is_in_no_trace_is_measured_all_the_same():
    for events in (traced(*WORK, flags="00"), story(*WORK)):
        spans = spans_of(events)
        assert not any(it.sampled for it in spans)
        assert {names.TOKEN_USAGE, names.OPERATION_DURATION, names.AGENT_DURATION} <= {
            it.name for span in spans for it in measured(span)
        }


def test_tokens_and_cost_are_counted_for_whom_they_were_spent():
    chat = one(spans_of(traced(*WORK)), "chat")
    found = {(it.name, it.attributes.get(names.TOKEN_TYPE)): it for it in measured(chat)}
    assert found[names.TOKEN_USAGE, "input"].value == 1_000
    assert found[names.TOKEN_USAGE, "output"].value == 20
    assert found[names.CLIENT_COST, None].value == 0.25
    assert found[names.TIME_TO_FIRST_CHUNK, None].value == 0.412
    for it in found.values():
        assert {names.TENANT, names.AGENT_ID, names.TRIGGER} <= it.attributes.keys()
        assert not {names.CONVERSATION, names.RUN} & it.attributes.keys()  # a series for each


def test_a_time_that_was_missed_lasts_from_when_it_was_due_and_is_an_error():
    missed = OccurrenceMissed(
        due_at=NINE, reason="not_running", down_from_at=NINE - 5, policy="skip"
    )
    (span,) = spans_of(traced(missed, subject=JOB))
    assert span.name == "occurrence_missed"
    assert span.start == min(NINE, span.end)
    assert span.error == "not_running"
    assert span.parent_id is None
    assert span.attributes[names.JOB] == "digest"
    (count,) = measured(span)
    assert count.attributes[names.OUTCOME] == "missed"


def test_a_time_that_was_skipped_is_no_error_and_links_to_the_run_in_its_way():
    skipped = OccurrenceSkipped(due_at=NINE, reason="overlap", because="e0")
    (span,) = spans_of(traced(skipped, subject=JOB))
    assert (span.name, span.error) == ("occurrence_skipped", None)
    assert [(it.trace_id, it.span_id) for it in span.links] == [(trace_of("e0"), span_of("e0"))]
    paused = OccurrenceSkipped(due_at=NINE, reason="paused", because="e0")
    (span,) = spans_of(traced(paused, subject=JOB))
    assert span.links == ()


def test_whoever_goes_on_from_a_snapshot_tells_the_same_spans():
    events = [*traced(*TURN), *traced(*WORK)]
    expected = spans_of(events)
    for position in range(len(events)):
        before = Spans()
        told = [span for recorded in events[:position] for span in before.take(recorded)]
        saved = msgspec.msgpack.encode(before.state)
        after = Spans(msgspec.msgpack.decode(saved, type=State))
        told += [span for recorded in events[position:] for span in after.take(recorded)]
        assert told == expected


@pytest.mark.parametrize("seed", range(5))
def test_whatever_a_log_holds_is_read_to_its_end_and_little_of_it_is_remembered(seed):
    events = Story(seed).tell(3_000)
    fold = Spans(words_of=lambda tenant: True)
    spans = [span for recorded in events for span in fold.take(recorded)]
    assert {"chat", "execute_tool", "invoke_workflow", "invoke_agent"} <= {
        span.operation for span in spans
    }
    assert all(span.start <= span.end or span.start - span.end < SECOND for span in spans)
    assert len(fold.state.runs) <= MOST
    assert len(fold.state.waiting) <= MOST


def test_runs_that_never_end_are_let_go():
    fold = Spans()
    for number in range(MOST + 10):
        (event,) = story(worker(f"w{number}"))
        fold.take(event)
    assert len(fold.state.runs) == MOST
    assert "w0" not in fold.state.runs
    assert f"w{MOST + 9}" in fold.state.runs
