"""What a run does next follows from what is recorded of it, and from nothing else."""

from dataclasses import replace
from functools import partial

import pytest

from services.runtime.run_decider import (
    OVERFLOW_CUTS,
    REMINDER,
    CallModel,
    CutContext,
    Finish,
    Nudge,
    RefuseTool,
    RunTool,
    Wait,
    decide,
)
from services.runtime.run_state import RunState, evolve
from tests.support.builders import (
    BODY,
    BRANCH,
    RUN,
    SECOND,
    START,
    TURN,
    WORKER,
    at,
    call,
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
    tool_called,
    tool_returned,
)
from tests.support.spec import Spec

NOW = START + 10 * SECOND


def run_of(profile, *, now=NOW):
    return Spec(RunState(RUN), evolve, partial(decide, profile=profile, now=now)).given


a_turn, a_branch, a_worker = run_of(TURN), run_of(BRANCH), run_of(WORKER)
INTERACTIVE = run_started(interactive=True)


def asked(step=1, *calls, text=""):
    """Return a model call with its answer."""
    return (model_called(step), model_returned(text, *calls, step=step))


def used(step, call_id, name="shell", arguments="{}", **returned):
    """Return a model call that asked for one tool, and the tool's result."""
    return (
        *asked(step, call(call_id, name, arguments)),
        tool_called(call_id, name),
        tool_returned(call_id, name, **returned),
    )


# -- the model --------------------------------------------------------------------------------


def test_a_run_begins_by_asking_the_model():
    a_turn().then(CallModel(1))
    a_worker(run_started()).then(CallModel(1))


def test_a_model_call_whose_answer_was_lost_is_repeated():
    a_worker(run_started(), model_called(1)).when(run_resumed()).then(CallModel(1))


def test_the_model_is_asked_again_once_its_tools_have_run():
    a_worker(run_started(), *used(1, "c1")).then(CallModel(2))


def test_calls_of_other_runs_on_the_same_subject_do_not_count():
    spec = Spec(RunState("another"), evolve, partial(decide, profile=TURN, now=NOW))
    spec.given(*used(1, "c1")).then(CallModel(1))


# -- tools ------------------------------------------------------------------------------------


def test_tools_run_one_after_the_other_in_the_order_of_the_answer():
    first, second = call("c1", "shell"), call("c2", "file_read")
    past = a_worker(run_started(), *asked(1, first, second))
    past.then(RunTool(first, interrupted=False))
    past.when(tool_called("c1"), tool_returned("c1")).then(RunTool(second, interrupted=False))
    both = past.when(tool_called("c1"), tool_returned("c1"))
    both.when(tool_called("c2"), tool_returned("c2", "file_read")).then(CallModel(2))


def test_a_tool_that_was_begun_and_has_no_result_was_interrupted():
    wanted = call("c1")
    past = a_worker(run_started(), *asked(1, wanted), tool_called("c1"))
    past.when(run_resumed()).then(RunTool(wanted, interrupted=True))


def test_a_tool_that_was_not_begun_before_a_takeover_was_not_interrupted():
    first, second = call("c1"), call("c2")
    past = (run_started(), *asked(1, first, second), tool_called("c1"), tool_returned("c1"))
    a_worker(*past).when(run_resumed()).then(RunTool(second, interrupted=False))


def test_a_result_of_an_unknown_call_changes_nothing():
    a_worker(run_started(), *asked(1, call("c1"))).when(tool_returned("c9")).then(
        RunTool(call("c1"), interrupted=False)
    )


def test_a_failed_tool_is_the_models_to_deal_with():
    a_worker(run_started(), *used(1, "c1", status="error")).then(CallModel(2))


def test_a_repeated_call_carries_a_warning_and_then_is_refused():
    past = (run_started(), *used(1, "c1"), *used(2, "c2"))
    third, fifth = call("c3"), call("c5")
    a_branch(*past, *asked(3, third)).then(
        RunTool(
            third,
            interrupted=False,
            warning="Note: this is the same call, 3 times in a row now.",
        )
    )
    more = (*past, *used(3, "c3", output="x"), *used(4, "c4", output="y"), *asked(5, fifth))
    a_branch(*more).then(
        RefuseTool(fifth, "Refused: the same call was made 4 times in a row. Try something else.")
    )


def test_an_interrupted_call_is_not_held_to_be_a_repetition():
    past = [event for number in range(1, 7) for event in used(number, f"c{number}")]
    last = call("c7")
    begun = a_worker(run_started(), *past, *asked(7, last), tool_called("c7"), run_resumed())
    begun.then(RunTool(last, interrupted=True))


# -- how runs end -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reply", "skip"])
def test_a_turn_is_over_when_it_has_replied_or_chosen_silence(name):
    a_turn(*used(1, "c1", name)).then(Finish("succeeded"))


def test_a_turn_does_what_stands_beside_its_reply_before_it_ends():
    reply, branch = call("c1", "reply"), call("c2", "branch")
    past = (*asked(1, reply, branch, text="so"), tool_called("c1"), tool_returned("c1", "reply"))
    a_turn(*past).then(RunTool(branch, interrupted=False))
    done = (tool_called("c2"), tool_returned("c2", "branch"))
    a_turn(*past, *done).then(Finish("succeeded", "so"))


def test_a_reply_that_failed_does_not_end_a_turn():
    a_turn(*used(1, "c1", "reply", status="error")).then(CallModel(2))


def test_a_turn_that_only_delegated_goes_on():
    a_turn(*used(1, "c1", "branch")).then(CallModel(2))


def test_text_ends_a_turn_and_a_branch():
    a_turn(*asked(text="It is Thursday.")).then(Finish("succeeded", "It is Thursday."))
    a_branch(run_started("branch"), *asked(text="Known.")).then(Finish("succeeded", "Known."))


def test_long_text_ends_a_branch_by_reference():
    a_branch(run_started("branch"), *asked(text=BODY)).then(Finish("succeeded", BODY))


def test_a_branch_that_delegated_is_over():
    a_branch(run_started("branch"), *used(1, "c1", "spawn_worker")).then(Finish("succeeded"))


@pytest.mark.parametrize("outcome", ["succeeded", "partial", "blocked", "failed"])
def test_a_worker_ends_by_the_outcome_that_it_states(outcome):
    past = (run_started(), *asked(1, call("c1", "set_status")), tool_called("c1", "set_status"))
    told = (status("all of it", outcome=outcome), tool_returned("c1", "set_status"))
    a_worker(*past, *told).then(Finish(outcome, "all of it"))


def test_a_stated_outcome_counts_even_when_the_tool_was_cut_short_behind_it():
    past = (run_started(), *asked(1, call("c1", "set_status")), tool_called("c1", "set_status"))
    begun = a_worker(*past, status("done", outcome="succeeded")).when(run_resumed())
    begun.then(RunTool(call("c1", "set_status"), interrupted=True))
    begun.when(tool_returned("c1", "set_status")).then(Finish("succeeded", "done"))


def test_progress_is_no_outcome():
    past = (run_started(), *asked(1, call("c1", "set_status")), tool_called("c1", "set_status"))
    a_worker(*past, status("half way"), tool_returned("c1", "set_status")).then(CallModel(2))


def test_a_worker_that_only_talks_is_reminded():
    a_worker(run_started(), *asked(text="I would…")).then(Nudge(REMINDER))


def test_a_reminded_worker_is_asked_again():
    a_worker(run_started(), *asked(text="I would…"), noted(REMINDER)).then(CallModel(2))


def test_a_worker_that_keeps_talking_ends_with_what_it_said():
    told = [run_started()]
    for step in (1, 2, 3):
        told += [*asked(step, text=f"words {step}"), noted(REMINDER)]
    a_worker(*told[:-1]).then(
        Finish("partial", "words 3", "it stopped without saying how it came out")
    )


def test_a_tool_call_starts_the_count_of_reminders_anew():
    told = [run_started()]
    for step in (1, 2):
        told += [*asked(step, text="words"), noted(REMINDER)]
    a_worker(*told, *used(3, "c1"), *asked(4, text="words")).then(Nudge(REMINDER))


def test_a_worker_that_gives_nothing_at_all_has_failed():
    told = [run_started()]
    for step in (1, 2, 3):
        told += [*asked(step), noted(REMINDER)]
    a_worker(*told[:-1]).then(Finish("failed", "", "the model gave no answer"))


# -- limits -----------------------------------------------------------------------------------


def test_the_limit_of_model_calls_ends_a_run_with_what_it_has():
    past = [event for step in range(1, 6) for event in used(step, f"c{step}", "branch", f"{step}")]
    a_turn(*past[:-4]).then(CallModel(5))
    a_turn(*past).then(Finish("partial", "", "the limit of 5 model calls was reached"))


def test_at_the_limit_the_last_words_are_the_result():
    past = []
    for step in range(1, 6):
        wanted = call(f"c{step}", "branch", f"{step}")
        past += [*asked(step, wanted, text=f"words {step}"), tool_called(f"c{step}", "branch")]
        past += [tool_returned(f"c{step}", "branch")]
    a_turn(*past).then(Finish("partial", "words 5", "the limit of 5 model calls was reached"))


def test_at_the_limit_a_worker_without_words_has_its_status():
    short = run_of(replace(WORKER, max_calls=1))
    short(run_started(), *asked(1, call("c1")), status("half way"), tool_returned("c1")).then(
        Finish("partial", "half way", "the limit of 1 model calls was reached")
    )


def test_the_answer_at_the_limit_is_still_acted_upon():
    past = [event for step in range(1, 5) for event in used(step, f"c{step}", "branch", f"{step}")]
    last = call("c5", "reply")
    a_turn(*past, *asked(5, last)).then(RunTool(last, interrupted=False))


def test_a_lost_answer_at_the_limit_is_asked_for_again():
    past = [event for step in range(1, 5) for event in used(step, f"c{step}", "branch", f"{step}")]
    a_turn(*past, model_called(5)).when(run_resumed()).then(CallModel(5))


def test_model_calls_that_failed_do_not_count_towards_the_limit():
    past = []
    for step in range(1, 8):
        past += [model_called(step), model_failed(step=step), run_resumed(attempt=step + 1)]
    a_turn(*past).then(CallModel(8))


@pytest.mark.parametrize(
    ("after_s", "expected"),
    [
        pytest.param(1_800.0, CallModel(2), id="just in time"),
        pytest.param(
            1_800.1,
            Finish("timed_out", "words", "the time limit of 1800 s was reached"),
            id="too late",
        ),
    ],
)
def test_the_wall_clock_ends_a_run_with_what_it_has(after_s, expected):
    late = run_of(WORKER, now=START + round(after_s * SECOND))
    late(at(0, run_started()), *asked(1, text="words"), noted()).then(expected)


def test_the_wall_clock_ends_a_run_amid_its_tools():
    late = run_of(WORKER, now=START + 1_801 * SECOND)
    late(at(0, run_started()), *asked(1, call("c1")), status("half way")).then(
        Finish("timed_out", "half way", "the time limit of 1800 s was reached")
    )


def test_input_starts_the_wall_clock_anew():
    late = run_of(WORKER, now=START + 2_000 * SECOND)
    late(at(0, INTERACTIVE), at(1_000, input_received())).then(CallModel(1))


# -- failures of the model --------------------------------------------------------------------


def test_a_failed_call_is_repeated_later_and_later():
    past = (run_started(), model_called(1), model_failed(step=1))
    a_worker(*past).then(CallModel(2, after_failures=1))
    past = (*past, model_called(2), model_failed(step=2))
    a_worker(*past).then(CallModel(3, after_failures=2))
    past = (*past, model_called(3), model_failed(step=3))
    a_worker(*past).then(CallModel(4, after_failures=3))
    past = (*past, model_called(4), model_failed(step=4, detail="no model answered"))
    a_worker(*past).then(Finish("failed", "", "no model answered"))


def test_a_repeated_call_that_is_lost_still_counts_the_failures_before_it():
    past = (run_started(), model_called(1), model_failed(step=1), model_called(2))
    a_worker(*past).then(CallModel(3, after_failures=1))


def test_an_answer_starts_the_count_of_failures_anew():
    past = (run_started(), model_called(1), model_failed(step=1), *used(2, "c1"))
    a_worker(*past, model_called(3), model_failed(step=3)).then(CallModel(4, after_failures=1))


def test_a_new_owner_starts_the_count_of_failures_anew():
    past = [run_started()]
    for step in (1, 2, 3, 4):
        past += [model_called(step), model_failed(step=step)]
    a_worker(*past).when(run_resumed()).then(CallModel(5))


def test_a_turn_leaves_waiting_for_a_model_to_its_next_attempt():
    a_turn(model_called(1), model_failed(step=1, detail="busy")).then(Finish("failed", "", "busy"))


def test_a_refused_request_is_not_repeated():
    refused = model_failed("refused", step=1, detail="bad key")
    a_worker(run_started(), model_called(1), refused).then(Finish("failed", "", "bad key"))


def test_a_run_that_fails_later_keeps_what_it_said():
    refused = model_failed("refused", step=2, detail="no quota")
    past = (*asked(1, text="words"), noted(), model_called(2), refused)
    a_worker(run_started(), *past).then(Finish("failed", "words", "no quota"))


def test_an_overflow_cuts_the_context_and_asks_again():
    past = (run_started(), model_called(1), model_failed("overflow", step=1))
    a_worker(*past).then(CutContext())
    a_worker(*past, context_trimmed(3)).then(CallModel(2))


def test_a_context_that_overflows_after_every_cut_fails_the_run():
    past = [run_started()]
    for step in range(1, OVERFLOW_CUTS + 1):
        past += [model_called(step), model_failed("overflow", step=step), context_trimmed(step)]
    last = OVERFLOW_CUTS + 1
    a_worker(*past, model_called(last), model_failed("overflow", step=last)).then(
        Finish("failed", "", "the conversation does not fit into the model")
    )


def test_an_answer_allows_cuts_anew():
    past = [run_started()]
    for step in range(1, OVERFLOW_CUTS + 1):
        past += [model_called(step), model_failed("overflow", step=step), context_trimmed(step)]
    past += used(3, "c1")
    a_worker(*past, model_called(4), model_failed("overflow", step=4)).then(CutContext())


# -- interactive workers ----------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["succeeded", "partial"])
def test_an_interactive_worker_waits_after_a_result(outcome):
    past = (INTERACTIVE, *asked(1, call("c1", "set_status")), status("one", outcome=outcome))
    a_worker(*past, tool_returned("c1", "set_status")).then(Wait("one"))


@pytest.mark.parametrize("outcome", ["blocked", "failed"])
def test_an_interactive_worker_that_cannot_go_on_ends(outcome):
    past = (INTERACTIVE, *asked(1, call("c1", "set_status")), status("no", outcome=outcome))
    a_worker(*past, tool_returned("c1", "set_status")).then(Finish(outcome, "no"))


def test_the_words_of_an_interactive_worker_are_a_result():
    a_worker(INTERACTIVE, *asked(text="Which one?")).then(Wait("Which one?"))


def test_an_interactive_worker_without_words_is_reminded_like_any():
    a_worker(INTERACTIVE, *asked()).then(Nudge(REMINDER))


WAITING = (
    INTERACTIVE,
    *asked(1, call("c1", "set_status")),
    status("one", outcome="succeeded"),
    tool_returned("c1", "set_status"),
    run_waiting("one"),
)


def test_input_sets_a_waiting_worker_to_work_again():
    a_worker(*WAITING).when(run_resumed(), input_received()).then(CallModel(2))


def test_a_worker_with_new_input_waits_again_after_its_next_result():
    past = (*WAITING, run_resumed(), input_received(), *asked(2, call("c2", "set_status")))
    told = (status("two", outcome="succeeded"), tool_returned("c2", "set_status"))
    a_worker(*past, *told).then(Wait("two"))


def test_a_worker_with_new_input_is_reminded_as_often_as_at_first():
    past = [INTERACTIVE, *asked(1), noted(), *asked(2), noted(), input_received()]
    a_worker(*past, *asked(3)).then(Nudge(REMINDER))


def test_input_amid_tools_waits_for_their_results():
    pending = (INTERACTIVE, *asked(1, call("c1")), tool_called("c1"), input_received())
    a_worker(*pending).then(RunTool(call("c1"), interrupted=True))
    a_worker(*pending, tool_returned("c1")).then(CallModel(2))


def test_input_that_came_before_the_outcome_was_stated_is_worked_on_first():
    past = (
        INTERACTIVE,
        *asked(1, call("c1", "set_status")),
        input_received(),
        status("one", outcome="succeeded"),
        tool_returned("c1", "set_status"),
    )
    a_worker(*past).then(CallModel(2))
    more = (*past, *asked(2, call("c2")), tool_called("c2"), tool_returned("c2"))
    a_worker(*more).then(CallModel(3))


def test_input_that_came_while_the_model_was_asked_is_worked_on_after_its_answer():
    past = (INTERACTIVE, model_called(1), input_received())
    a_worker(*past).when(model_returned("Which one?")).then(CallModel(2))


def test_input_that_came_while_a_lost_answer_was_awaited_is_worked_on_too():
    past = (INTERACTIVE, model_called(1), input_received(), run_resumed(), model_called(1))
    told = (status("one", outcome="succeeded"), tool_returned("c1", "set_status"))
    a_worker(*past, model_returned("", call("c1", "set_status")), *told).then(CallModel(2))


def test_input_that_came_while_a_call_failed_is_shown_with_the_next():
    past = (INTERACTIVE, model_called(1), input_received(), model_failed(step=1))
    a_worker(*past).then(CallModel(2, after_failures=1))


def test_input_before_the_worker_was_started_waits_for_it():
    a_worker(input_received()).when(INTERACTIVE).then(CallModel(1))


def test_an_end_is_known_with_its_place():
    state = Spec(RunState(RUN), evolve, lambda state: (state.ended.outcome, state.ended_seq))
    state.given(run_started(), run_ended("cancelled")).then(("cancelled", 2))
