"""The loop guard: repetition is warned about, then refused, at Spacebot's thresholds."""

import pytest

from services.runtime.bodies import reference
from services.runtime.config import GuardSettings
from services.runtime.loop_guard import judge
from services.runtime.run_state import Done
from tests.support.builders import thresholds

TURN, BRANCH, WORKER = (
    thresholds(settings)
    for settings in (GuardSettings().turn, GuardSettings().branch, GuardSettings().worker)
)


def done(name="file_read", arguments="{}", output=None, status="ok", *, times=1):
    """Return calls; without an output each has one of its own."""
    return [
        Done(name, arguments, status, f"result {number}" if output is None else output)
        for number in range(times)
    ]


def actions(limits, past, name="file_read", arguments="{}"):
    """Return the verdicts on the next call after 0, 1, 2, … of the past calls."""
    return [judge(past[:count], name, arguments, limits).action for count in range(len(past) + 1)]


@pytest.mark.parametrize(
    ("limits", "warn", "block"),
    [
        pytest.param(TURN, 2, 4, id="turn"),
        pytest.param(BRANCH, 3, 5, id="branch"),
        pytest.param(WORKER, 4, 7, id="worker"),
    ],
)
def test_identical_calls_in_a_row_are_warned_about_and_then_refused(limits, warn, block):
    found = actions(limits, done(times=block))
    expected = ["allow"] * (warn - 1) + ["warn"] * (block - warn) + ["block"] * 2
    assert found == expected


@pytest.mark.parametrize(
    ("limits", "warn", "block"),
    [
        pytest.param(TURN, 4, 8, id="turn"),
        pytest.param(BRANCH, 6, 10, id="branch"),
        pytest.param(WORKER, 12, 21, id="worker"),
    ],
)
@pytest.mark.parametrize("command", ["git status", "tail -f log", "kubectl get pods", "pgrep make"])
def test_calls_that_watch_something_have_more_patience(limits, warn, block, command):
    arguments = f'{{"command": "{command}"}}'
    found = actions(limits, done("shell", arguments, times=block), "shell", arguments)
    assert found == ["allow"] * (warn - 1) + ["warn"] * (block - warn) + ["block"] * 2


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param("shell", '{"command": "make"}', id="a command that watches nothing"),
        pytest.param("shell", f'{{"command": "status {"x" * 200}"}}', id="a long command"),
        pytest.param("file_read", '{"path": "status"}', id="another tool"),
    ],
)
def test_only_short_commands_that_watch_something_have_more_patience(name, arguments):
    assert judge(done(name, arguments, times=6), name, arguments, WORKER).action == "block"


def test_another_call_in_between_starts_the_row_anew():
    past = [*done(times=6), *done("file_list", times=1)]
    assert judge(past, "file_read", "{}", WORKER).action == "allow"


def test_other_arguments_are_another_call():
    past = done(arguments='{"path": "a"}', times=9)
    assert judge(past, "file_read", '{"path": "b"}', WORKER).action == "allow"


@pytest.mark.parametrize(
    ("limits", "warn", "block"),
    [
        pytest.param(TURN, 2, 3, id="turn"),
        pytest.param(BRANCH, 2, 3, id="branch"),
        pytest.param(WORKER, 3, 4, id="worker"),
    ],
)
def test_the_same_outcome_again_and_again_is_warned_about_and_then_refused(limits, warn, block):
    past = []
    found = []
    for number in range(block + 2):
        found.append(judge(past, "file_read", "{}", limits).action)
        past += [*done(output="the same"), *done("shell", f'"{number}"')]
    assert found == ["allow"] * warn + ["warn"] * (block - warn) + ["block"] * 2


def test_only_the_beginning_of_an_outcome_is_compared():
    past = []
    for number in range(4):
        past += [*done(output="x" * 1_000 + str(number)), *done("shell", f'"{number}"')]
    assert judge(past, "file_read", "{}", WORKER).action == "block"
    changed = []
    for number in range(4):
        changed += [*done(output="x" * 999 + str(number)), *done("shell", f'"{number}"')]
    assert judge(changed, "file_read", "{}", WORKER).action == "allow"


def test_long_outcomes_are_compared_by_their_hash():
    one, other = reference(b"one"), reference(b"other")
    same = [*done(output=one), *done("shell", "1"), *done(output=one), *done("shell", "2")]
    assert judge(same, "file_read", "{}", TURN).action == "warn"
    different = [*done(output=one), *done("shell", "1"), *done(output=other), *done("shell", "2")]
    assert judge(different, "file_read", "{}", TURN).action == "allow"


def test_a_refusal_is_no_outcome():
    past = []
    for number in range(5):
        past += [*done(output="Refused", status="refused"), *done("shell", f'"{number}"')]
    assert judge(past, "file_read", "{}", WORKER).action == "allow"


def test_an_outcome_that_changed_is_counted_anew():
    past = []
    for number in range(6):
        output = "early" if number < 4 else "late"
        past += [*done(output=output), *done("shell", f'"{number}"')]
    assert judge(past, "file_read", "{}", WORKER).action == "allow"


@pytest.mark.parametrize(
    ("limits", "repeats"),
    [
        pytest.param(TURN, 3, id="turn"),
        pytest.param(BRANCH, 3, id="branch"),
        pytest.param(WORKER, 4, id="worker"),
    ],
)
@pytest.mark.parametrize("period", [2, 3])
def test_a_few_calls_in_turn_are_refused_once_the_pattern_is_full(limits, repeats, period):
    pattern = [("file_read", f'"{number}"') for number in range(period)]
    told = pattern * repeats
    past = [
        Done(name, arguments, "ok", f"result {number}")
        for number, (name, arguments) in enumerate(told)
    ]
    for count in range(len(told) - 1):
        assert judge(past[:count], *told[count], limits).action == "allow"
    verdict = judge(past[: len(told) - 1], *told[-1], limits)
    assert (verdict.action, verdict.reason) == ("block", "the same few calls repeat in turn")


def test_a_pattern_that_is_broken_once_is_none():
    past = [
        Done("file_read", arguments, "ok", f"result {number}")
        for number, arguments in enumerate("121312")
    ]
    assert judge(past, "file_read", "1", TURN).action == "allow"


def test_a_verdict_says_why():
    assert judge(done(), "file_read", "{}", TURN).reason == (
        "this is the same call, 2 times in a row now"
    )
    assert judge(done(times=3), "file_read", "{}", TURN).reason == (
        "the same call was made 3 times in a row"
    )
    past = [*done(output="x"), *done("shell", "1"), *done(output="x"), *done("shell", "2")]
    assert judge(past, "file_read", "{}", TURN).reason == (
        "this call has given the same result 2 times already"
    )
    past += [*done(output="x"), *done("shell", "3")]
    assert judge(past, "file_read", "{}", TURN).reason == "this call gave the same result 3 times"
