"""Where a fork parts, and what it then has to answer."""

import pytest

from schemas.schedule import OccurrenceFired
from schemas.subjects import FORK, Subject
from services.runtime.parting import InvalidFork, Point, decide
from tests.support.builders import (
    CONVERSATION,
    Given,
    branch,
    branch_concluded,
    forked,
    message,
    reply,
    story,
    turn_completed,
    turn_failed,
    turn_started,
)
from tests.support.jobs import JOB, NINE, minutely

TALK = (
    message("one", message_id="m1"),
    turn_started("t1"),
    reply("to one", turn="t1"),
    turn_completed("e1", turn="t1"),
    message("two", message_id="m2"),
    message("two", message_id="m2"),  # the platform said it twice
    turn_started("t2"),
    reply("to two", turn="t2"),
    turn_completed("e5", turn="t2"),
    message("three", message_id="m3"),
)


def part(*events, at=None, end=None, subject=CONVERSATION) -> Point:
    told = story(*events, subject=subject)
    return decide(told, at, end=end or told[-1].seq)


@pytest.mark.parametrize(
    ("at", "found"),
    [
        ("1", "e1"),
        ("4", "e4"),
        (" 10 ", "e10"),
        ("message 1", "e1"),
        ("message 2", "e5"),
        ("Message 3", "e10"),
        ("message:3", "e10"),
        ("before message 3", "e9"),
        (None, "e10"),
    ],
)
def test_a_point_is_a_sequence_or_a_message_or_the_newest(at, found):
    assert part(*TALK, at=at).event.envelope.id == found


def test_a_point_is_an_event_by_its_id_or_the_beginning_of_it():
    told = [
        Given(each, id=f"0199a8c0-0000-7000-8000-00000000000{n}") for n, each in enumerate(TALK)
    ]
    assert part(*told, at="0199A8C0-0000-7000-8000-000000000004").event.seq == 5
    with pytest.raises(InvalidFork, match="several events"):
        part(*told, at="0199a8c0")


def test_the_beginning_of_an_id_may_be_digits_alone():
    """No sequence begins with a nought, and the ids of these years all do."""
    told = [
        Given(each, id=f"0199{n}812-0000-7000-8000-000000000000") for n, each in enumerate(TALK)
    ]
    assert part(*told, at="01994812").event.seq == 5


def test_a_step_of_a_run_is_the_conversation_as_it_was_then():
    told = story(*TALK)
    assert decide([told[0], told[4]], "3", end=9).event.seq == 1
    assert decide([told[0], told[4]], "8", end=9).event.seq == 5


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("0", "begins at event 1"),
        ("11", "ends at event 10"),
        ("9" * 20, "ends at event 10"),
        ("9" * 5_000, "is none"),
        ("message " + "9" * 5_000, "is none"),
        ("٣", "is none"),
        ("message 4", "people said 3"),
        ("message 0", "no message 0"),
        ("before message 1", "nothing is before message 1"),
        ("ffffffff", "no event"),
        ("yesterday", "'yesterday' is none"),
        ("", "'' is none"),
        ("-3", "'-3' is none"),
    ],
)
def test_what_is_no_point_says_why(at, says):
    with pytest.raises(InvalidFork, match=says):
        part(*TALK, at=at)


def test_what_was_unanswered_then_is_what_the_fork_answers():
    point = part(*TALK, at="message 2")
    assert point.asks
    assert part(*TALK, at="7").asks  # its turn had begun, and had said nothing yet


def test_where_all_was_answered_the_next_message_is_asked():
    for at in ("3", "4"):  # the reply itself, and the end of its turn
        point = part(*TALK, at=at)
        assert not point.asks
        assert point.next is not None
        assert point.next.text == "two"


def test_the_end_of_an_open_turn_says_what_it_had_answered():
    late = message("late", message_id="m2")
    talk = (message("one"), turn_started(), late, reply("to one"), turn_completed("e1"))
    point = part(*talk, at="4")
    assert point.handled == ("e1",)
    assert point.asks  # what came too late for it
    assert part(*talk[:-1]).handled == ("e1", "e3")  # it has not ended: as far as anybody knows
    apology = (message("one"), turn_started(), reply("sorry"), turn_failed("e1"))
    assert part(*apology, at="3").handled == ("e1",)


def test_a_result_that_came_back_is_what_the_fork_tells():
    talk = (message("one"), turn_started(), branch(), turn_completed("e1"), branch_concluded())
    assert part(*talk).asks
    assert not part(*talk, at="4").asks


def test_where_nothing_follows_there_is_nothing_to_ask():
    point = part(*TALK[:4])
    assert (point.asks, point.next) == (False, None)


def test_a_platforms_repetition_is_not_the_next_message():
    point = part(*TALK[:4], message("one", message_id="m1"), at="4")
    assert point.next is None


def test_the_runs_of_a_job_are_not_forked():
    with pytest.raises(InvalidFork, match="a job"):
        part(minutely(), OccurrenceFired(due_at=NINE), subject=JOB)


def test_forks_of_forks_have_an_end():
    there = Subject("acme", "atlas", FORK, "there")
    with pytest.raises(InvalidFork, match="50 forks of forks"):
        part(message(), *[forked("e1")] * 50, subject=there)
