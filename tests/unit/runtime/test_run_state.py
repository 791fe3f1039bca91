"""The fold of a run: its transcript as the model must see it, who owns it, how it ended."""

import pytest

from services.runtime.recording import record
from services.runtime.run_state import WINDOW, RunState, evolve
from tests.support.builders import (
    BODY,
    RUN,
    START,
    at,
    call,
    cancel,
    caused_by,
    context_trimmed,
    input_received,
    model_called,
    model_failed,
    model_returned,
    noted,
    run_ended,
    run_resumed,
    run_started,
    run_waiting,
    status,
    story,
    tool_called,
    tool_returned,
)
from tests.support.spec import Spec


def asking(ask):
    return Spec(RunState(RUN), evolve, ask).given


owner = asking(lambda state: (state.owner, state.attempt, state.holder))
lines = asking(lambda state: [(line.role, line.text) for line in state.lines])
first_call = asking(lambda state: (state.context, state.note))


# -- who owns it ------------------------------------------------------------------------------


def test_nobody_owns_a_run_that_was_not_begun():
    owner().then(("", 0, None))


def test_the_first_owner_holds_the_delivery_that_asked_for_the_run():
    owner(caused_by("e0", run_started(owner="one"))).then(("one", 1, "e0"))


def test_a_takeover_names_the_owner_the_attempt_and_the_delivery():
    past = owner(caused_by("e0", run_started(owner="one")))
    past.when(caused_by("e5", run_resumed(owner="two", attempt=2))).then(("two", 2, "e5"))


# -- the transcript ---------------------------------------------------------------------------


def test_results_stand_behind_the_answer_that_asked_for_them():
    lines(
        run_started(),
        model_called(),
        model_returned("I look.", call("c1"), call("c2")),
        tool_called("c1"),
        tool_returned("c1", output="one"),
        tool_called("c2"),
        tool_returned("c2", output="two"),
        model_called(2),
        model_returned("Done.", step=2),
        noted("Really?"),
    ).then(
        [
            ("assistant", "I look."),
            ("tool", "one"),
            ("tool", "two"),
            ("assistant", "Done."),
            ("user", "Really?"),
        ]
    )


def test_a_result_names_its_call():
    ids = asking(lambda state: [line.call_id for line in state.lines])
    ids(model_called(), model_returned("", call("c1")), tool_returned("c1")).then([None, "c1"])


def test_an_answer_keeps_its_calls_in_order():
    kept = asking(lambda state: state.lines[0].tool_calls)
    both = (call("c1"), call("c2", "file_read"))
    kept(model_called(), model_returned("", *both)).then(both)


def test_input_amid_tools_stands_behind_their_results():
    past = (
        model_called(),
        model_returned("", call("c1"), call("c2")),
        tool_called("c1"),
        input_received("hurry"),
        tool_returned("c1", output="one"),
    )
    lines(*past).then([("assistant", ""), ("tool", "one")])
    lines(*past).when(tool_returned("c2", output="two")).then(
        [("assistant", ""), ("tool", "one"), ("tool", "two"), ("user", "hurry")]
    )


def test_input_during_a_model_call_stands_behind_the_answer_that_did_not_know_it():
    past = (model_called(), input_received("hurry"))
    lines(*past).then([])
    lines(*past, model_returned("Slowly.")).then([("assistant", "Slowly."), ("user", "hurry")])
    lines(*past, model_returned("", call("c1"))).when(tool_returned("c1", output="one")).then(
        [("assistant", ""), ("tool", "one"), ("user", "hurry")]
    )


def test_input_during_a_model_call_that_fails_is_shown_with_the_next():
    lines(model_called(), input_received("hurry"), model_failed()).then([("user", "hurry")])


def test_several_inputs_keep_their_order():
    past = (model_called(), input_received("one", source="i1"), input_received("two", source="i2"))
    lines(*past, model_returned("")).then([("assistant", ""), ("user", "one"), ("user", "two")])


def test_the_sources_of_input_are_known_so_that_none_is_taken_twice():
    sources = asking(lambda state: state.sources)
    sources(input_received(source="i1"), input_received(source="i2")).then({"i1", "i2"})


def test_a_cut_leaves_the_transcript_alone_and_says_how_much_is_not_shown():
    trimmed = asking(lambda state: (state.trimmed, len(state.lines)))
    trimmed(model_called(), model_returned("a"), noted(), context_trimmed(1)).then((1, 2))


# -- the first call fixes what is shown before the transcript ---------------------------------


def test_the_first_model_call_fixes_context_and_note():
    past = first_call(model_called(1, context="e7", note="[status] noon"))
    past.then(("e7", "[status] noon"))
    past.when(model_returned("x"), model_called(2)).then(("e7", "[status] noon"))


def test_a_repeated_first_call_changes_neither():
    past = first_call(model_called(1, context="e7", note="[status] noon"), run_resumed())
    past.when(model_called(1)).then(("e7", "[status] noon"))


# -- what the loop guard looks back on --------------------------------------------------------


def test_finished_calls_are_remembered_with_arguments_and_outcome():
    done = asking(lambda state: [(d.name, d.arguments, d.status, d.output) for d in state.done])
    past = (model_called(), model_returned("", call("c1", "shell", '{"command": "ls"}')))
    done(*past, tool_returned("c1", output=BODY, status="error")).then(
        [("shell", '{"command": "ls"}', "error", BODY)]
    )


def test_only_the_newest_calls_are_remembered():
    told = []
    for step in range(WINDOW + 5):
        told += [
            model_called(step),
            model_returned("", call(f"c{step}"), step=step),
            tool_returned(f"c{step}", output=f"{step}"),
        ]
    outputs = asking(lambda state: [int(done.output) for done in state.done])
    outputs(*told).then(list(range(5, WINDOW + 5)))


# -- time, status and ends --------------------------------------------------------------------


def test_a_run_begins_with_its_first_event_or_its_newest_input():
    began = asking(lambda state: (state.started_at - START, state.at - START))
    began(at(3, model_called())).then((3_000_000, 3_000_000))
    began(at(3, run_started()), at(9, model_called())).then((3_000_000, 9_000_000))
    began(at(3, run_started()), at(9, input_received())).then((9_000_000, 9_000_000))


def test_the_newest_status_counts_and_an_outcome_stays():
    said = asking(lambda state: (state.status, state.signal and state.signal.outcome))
    said(run_started(), status("one"), status("two")).then(("two", None))
    said(run_started(), status("done", outcome="partial"), status("really")).then(
        ("really", "partial")
    )


def test_a_wait_is_counted_and_keeps_its_result_and_place():
    waits = asking(
        lambda state: (state.waiting, state.waits, state.waiting_seq, state.waiting_result)
    )
    past = waits(run_started(), run_waiting("one"))
    past.then((True, 1, 2, "one"))
    past.when(run_resumed(), input_received()).then((False, 1, 2, "one"))
    past.when(run_resumed(), input_received(), run_waiting("two")).then((True, 2, 5, "two"))


def test_the_event_of_the_newest_wait_or_end_is_known():
    last = asking(lambda state: state.last)
    last(run_started()).then(None)
    last(run_started(), run_waiting()).then("e2")
    last(run_started(), run_waiting(), run_ended()).then("e3")


def test_an_end_from_outside_also_ends_a_wait():
    ended = asking(lambda state: (state.waiting, state.ended.outcome))
    ended(run_started(), run_waiting(), run_ended("cancelled")).then((False, "cancelled"))


# -- the fold itself --------------------------------------------------------------------------


def test_events_of_other_runs_on_the_subject_only_move_the_position():
    state = RunState("another")
    for recorded in story(run_started(), model_called(), model_returned("x"), run_ended()):
        state = evolve(state, recorded)
    assert state == RunState("another", seq=4)


def test_an_event_that_is_no_step_changes_nothing_but_position_and_time():
    (asked,) = story(cancel(RUN))
    at_ = asked.envelope.at
    assert evolve(RunState(RUN), asked) == RunState(RUN, seq=1, at=at_, started_at=at_)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"nonsense", id="a damaged event"),
        pytest.param(
            b'{"id": "x", "type": "seen_tomorrow", "at": 1, "actor": "a", "data": {}}',
            id="an event of tomorrow",
        ),
    ],
)
def test_what_cannot_be_understood_only_moves_the_position(body):
    assert evolve(RunState(RUN), record(9, "s", body)) == RunState(RUN, seq=9)
