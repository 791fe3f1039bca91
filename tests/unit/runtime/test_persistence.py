"""A conversation is looked through when there is reason to, and never because time passes."""

from functools import partial, reduce

import pytest
from hypothesis import given as any_of, strategies as st

from services.runtime.config import PersistenceSettings
from services.runtime.conversation import Conversation, calls_for_turn, evolve
from services.runtime.persistence import MANY_CALLS, SECOND, decide
from tests.support.builders import (
    ANA,
    BEN,
    START,
    at,
    branch,
    branch_concluded,
    cancel,
    message,
    persistence,
    reply,
    story,
    turn_completed,
    turn_started,
    worker,
    worker_concluded,
)
from tests.support.spec import Spec

SETTINGS = PersistenceSettings(messages=3, idle_s=60, reflection_cooldown_s=600, max_age_s=10_000)


def looking(after_s=0.0, settings=SETTINGS):
    """Ask what is due so many seconds after the start."""
    now = START + round(after_s * SECOND)
    return Spec(
        Conversation(), evolve, lambda state: decide(state.unsaved, settings, now=now)
    ).given


def asking(ask):
    return Spec(Conversation(), evolve, ask).given


def messages(count, *, first=1):
    return [message(message_id=f"m{number}") for number in range(first, first + count)]


# -- occasions --------------------------------------------------------------------------------


def test_many_messages_are_an_occasion_at_once():
    looking()(*messages(2)).then(None)
    looking()(*messages(3)).then("messages")


def test_a_message_that_a_platform_repeats_counts_once():
    looking()(*messages(2), *messages(2)).then(None)


def test_silence_is_an_occasion_when_something_was_said():
    looking(59)(at(0, message())).then(None)
    looking(60)(at(0, message())).then("idle")


def test_silence_is_counted_from_the_newest_message():
    looking(100)(at(0, message()), at(50, message(message_id="m2"))).then(None)


@pytest.mark.parametrize("past", [(), (reply(),), (branch(), branch_concluded())], ids=len)
def test_silence_alone_is_no_occasion(past):
    looking(9_000)(*past).then(None)


def test_a_day_of_silence_after_a_look_is_no_occasion():
    past = (at(0, message()), at(60, persistence()), at(61, branch_concluded("p1")))
    for hour in range(1, 25):
        looking(hour * 3_600, PersistenceSettings())(*past).then(None)


def test_a_worker_that_succeeded_is_an_occasion():
    looking(1)(at(0, message()), worker(), worker_concluded()).then("reflection")


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "timed_out", "partial", "blocked"])
def test_a_worker_that_did_not_succeed_is_none(outcome):
    looking(1)(at(0, message()), worker(), worker_concluded(outcome=outcome)).then(None)


def test_a_worker_that_nobody_asked_for_is_none():
    looking(1)(at(0, message()), worker_concluded()).then(None)


@pytest.mark.parametrize(("calls", "due"), [(MANY_CALLS - 1, None), (MANY_CALLS, "reflection")])
def test_a_turn_of_many_tool_calls_is_an_occasion(calls, due):
    past = (at(0, message()), turn_started(), turn_completed("e1", tool_calls=calls))
    looking(1)(*past).then(due)


def test_reflection_has_a_cooldown_in_each_conversation():
    past = [
        *(at(0, message()), worker(), worker_concluded(), at(10, persistence())),
        *(at(11, branch_concluded("p1")), at(20, message(message_id="m2"))),
        *(worker("w2"), worker_concluded("w2")),
    ]
    settings = PersistenceSettings(messages=9, idle_s=5_000, reflection_cooldown_s=600)
    looking(609, settings)(*past).then(None)
    looking(610, settings)(*past).then("reflection")


def test_finished_work_without_a_new_message_waits_for_one():
    past = [
        *(at(0, message()), worker(), at(60, persistence()), at(61, branch_concluded("p1"))),
        worker_concluded(),
    ]
    looking(9_000)(*past).then(None)
    looking(9_001)(*past, at(9_000, message(message_id="m2"))).then("reflection")


def test_one_at_a_time():
    looking(9_000)(*messages(3), persistence(), *messages(5, first=4)).then(None)


def test_after_a_look_it_takes_new_messages():
    past = (*messages(3), persistence(), branch_concluded("p1"))
    looking()(*past, *messages(2, first=4)).then(None)
    looking()(*past, *messages(3, first=4)).then("messages")


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "timed_out", "partial"])
def test_a_look_that_failed_is_not_repeated_before_somebody_says_something(outcome):
    past = (at(0, message()), at(60, persistence()), branch_concluded("p1", outcome=outcome))
    looking(9_000)(*past).then(None)
    looking(9_000)(*past, at(8_000, message(message_id="m2"))).then("idle")


def test_the_budget_is_kept_whatever_the_occasion():
    settings = PersistenceSettings(messages=3, min_messages=2, idle_s=60, reflection_cooldown_s=0)
    looking(99, settings)(at(0, message()), worker(), worker_concluded()).then(None)
    looking(99, settings)(at(0, message()), at(0, message(message_id="m2"))).then("idle")


def test_what_was_said_long_ago_is_left_alone():
    looking(10_000)(at(0, message())).then("idle")
    looking(10_001)(*(at(0, each) for each in messages(9))).then(None)


# -- what is to be looked through -------------------------------------------------------------

since = asking(lambda state: state.unsaved.since)


def test_only_a_receipt_says_that_something_was_looked_through():
    past = (message(), persistence())
    since(*past).then(0)
    since(*past).when(branch_concluded("p1")).then(2)
    for outcome in ("failed", "cancelled", "timed_out", "partial"):
        since(*past).when(branch_concluded("p1", outcome=outcome)).then(0)


def test_the_end_of_another_branch_says_nothing():
    since(message(), persistence(), branch("b1")).when(branch_concluded("b1")).then(0)


def test_the_task_mentions_work_that_was_finished():
    task = asking(lambda state: "Work was finished" in state.unsaved.task)
    task(message()).then(False)
    task(message(), worker(), worker_concluded()).then(True)
    task(message(), worker(), worker_concluded(), persistence()).then(False)


# -- nobody is told ---------------------------------------------------------------------------

SILENT = [persistence(), branch_concluded("p1", text="Saved m1.")]


def visible(state):
    """Return everything that the channel and people see of a conversation."""
    return (
        *(state.entries, state.turn, state.unhandled, state.runs, state.retriggers, state.group),
        *(state.speaker, state.seen, state.failed, state.taken),
        calls_for_turn(state, max_retriggers=3),
    )


def test_it_is_no_run_of_the_conversation_and_yet_can_be_found():
    past = asking(lambda state: (state.runs, getattr(state.run("p1"), "kind", None)))
    past(message(), persistence()).then(((), "branch"))
    past(message(), persistence(), branch_concluded("p1")).then(((), None))


def test_its_conclusion_calls_for_no_turn():
    asking(partial(calls_for_turn, max_retriggers=3))(
        *(message(), turn_started(), turn_completed("e1"), persistence()), branch_concluded("p1")
    ).then(False)


def test_a_stop_of_it_is_not_shown():
    entries = asking(lambda state: [entry.label for entry in state.entries])
    entries(message(), persistence(), cancel("p1")).then(["[Ana] "])


def test_a_request_in_the_middle_of_a_turn_is_no_effect_of_it():
    asking(lambda state: state.turn.effects)(message(), turn_started(), persistence()).then(())


EVENTS = [
    *messages(4),
    *(message(message_id="m5", author=BEN, group=True), message(message_id="m1", author=ANA)),
    *(turn_started(), reply(), turn_completed("e1", "e2", "e3"), turn_started("t2")),
    *(branch(), branch_concluded(), worker(), worker_concluded(), cancel("w1")),
    turn_completed("e1", "e2", "e3", "e4", "e5", turn="t2", tool_calls=12),
]
STORIES = st.lists(st.sampled_from([*EVENTS, *SILENT, *SILENT]), max_size=40)


@any_of(STORIES)
def test_without_persistence_branches_every_conversation_looks_the_same(told):
    recorded = story(*told)
    others = [each for each in recorded if each.event not in SILENT]
    assert visible(reduce(evolve, recorded, Conversation())) == visible(
        reduce(evolve, others, Conversation())
    )


@any_of(STORIES, st.integers(1, 3), st.integers(0, 120))
def test_there_is_never_more_than_one_look_for_so_many_messages(told, least, pause_s):
    """Whatever happens: requested only as decided, they are one at a time and within the budget."""
    settings = PersistenceSettings(
        messages=3, min_messages=least, idle_s=60, reflection_cooldown_s=0
    )
    state, looks, said, seq = Conversation(), 0, set(), 0
    recorded = story(*(at(n * pause_s, each) for n, each in enumerate(told)))
    for each in recorded:
        if each.event == SILENT[0]:
            due = decide(state.unsaved, settings, now=each.envelope.at)
            if due is None:
                continue
            assert state.unsaved.branch is None
            looks += 1
        state = evolve(state, each)
        said |= {getattr(each.event, "message_id", None)} - {None}
        assert state.unsaved.since >= seq, "what was looked through is looked through"
        seq = state.unsaved.since
        assert looks * least <= len(said)
