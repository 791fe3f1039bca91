"""A conversation is compacted before there is no room for more of it, and no sooner."""

from functools import partial

import pytest

from schemas.base import BodyRef, EventId
from schemas.channel import Attachment, ResultDelivered
from schemas.schedule import OccurrenceFired
from services.compactor.decider import (
    BACKOFF_S,
    FORGOTTEN_S,
    KEPT,
    LONGEST_BACKOFF_S,
    Limits,
    decide,
)
from services.compactor.usage import SURROUNDINGS, Counted
from services.runtime.conversation import EVERYTHING, Conversation, evolve
from tests.support.builders import (
    BODY,
    SECOND,
    START,
    at,
    checkpoint,
    compaction,
    compaction_failed,
    message,
    reply,
    retry,
    turn_completed,
    turn_failed,
    turn_started,
    worker,
)
from tests.support.jobs import minutely
from tests.support.spec import Spec

LIMITS = Limits(window_tokens=100_000, keep=50)  # 100 entries are all that there is room for
LATER = START + 10_000 * SECOND


def asking(ask):
    return Spec(Conversation(), partial(evolve, keep=EVERYTHING), ask).given


def due(*events, count=None, limits=LIMITS, now=LATER):
    """Return what is decided after these events, shortly: kind, first and last event, entries."""
    part = asking(partial(decide, count=count, limits=limits, now=now))(*events).answer
    if part is None:
        return None
    return part.kind, part.after, part.until, len(part.entries or part.sources)


def talk(turns, *, first=1, text="hello"):
    """Return turns of four events each: a message, its turn, a reply, the end of the turn."""
    told = []
    for number in range(turns):
        seq = first + 4 * number
        told += [
            message(text, message_id=f"m{seq}"),
            turn_started(f"t{seq}"),
            reply("hi", turn=f"t{seq}"),
            turn_completed(f"e{seq}", turn=f"t{seq}"),
        ]
    return told


def cut_at(turn, **fields):
    """Return a checkpoint that covers so many turns, from the first."""
    return checkpoint(f"e{4 * turn - 1}", **fields)


# -- when -------------------------------------------------------------------------------------


def test_an_empty_conversation_needs_nothing():
    assert due() is None


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        pytest.param(39, None, id="78 entries: there is room"),
        pytest.param(40, ("interval", None, "e47", 24), id="80 entries: 30 % in the background"),
        pytest.param(42, ("interval", None, "e51", 26), id="84 entries: still 30 %"),
        pytest.param(43, ("interval", None, "e87", 44), id="86 entries: half"),
        pytest.param(47, ("interval", None, "e95", 48), id="94 entries: half"),
        pytest.param(48, ("emergency", None, "e95", 48), id="96 entries: at once"),
        pytest.param(50, ("emergency", None, "e99", 50), id="100 entries: at once"),
        pytest.param(51, ("interval", None, "e103", 52), id="102: the channel forgot some anyway"),
    ],
)
def test_many_entries_are_compacted_before_the_channel_forgets_any(turns, found):
    assert due(*talk(turns)) == found


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        (79_999, None),
        (80_000, ("pressure", None, "e7", 4)),
        (84_999, ("pressure", None, "e7", 4)),
        (85_000, ("pressure", None, "e11", 6)),
        (94_999, ("pressure", None, "e11", 6)),
        (95_000, ("emergency", None, "e11", 6)),
        (200_000, ("emergency", None, "e11", 6)),
    ],
)
def test_what_the_provider_counted_decides_how_much(tokens, found):
    assert due(*talk(5), count=Counted(tokens, seq=1_000)) == found


def test_where_nobody_counted_the_length_is_estimated():
    long = "x" * 4 * 7_000
    past = talk(10, text=long)
    assert due(*past) is None
    assert due(*past, *talk(1, first=41, text=long)) == ("pressure", None, "e15", 8)


def test_what_came_after_the_count_is_added_to_it():
    count = Counted(70_000, seq=20)
    past = talk(5)
    assert due(*past, count=count) is None
    assert due(*past, message("x" * 40_000, message_id="new"), count=count)[0] == "pressure"


def test_a_long_text_by_reference_counts_as_far_as_it_is_shown():
    huge = BodyRef(sha256=BODY.sha256, bytes=10_000_000)
    assert due(*talk(5), message(huge, message_id="new")) is None


def test_what_was_cut_after_the_count_is_taken_off_it():
    past = talk(20)
    count = Counted(90_000, seq=len(past))
    assert due(*past, count=count)[0] == "pressure"
    assert due(*past, cut_at(10, tokens=60_000), count=count) is None
    assert due(*past, cut_at(10, tokens=5_000), count=count)[:2] == ("pressure", "e39")


def test_a_rollup_after_the_count_takes_nothing_off_it_twice():
    small = Limits(window_tokens=100_000, keep=50, rollup_at=2, rollup_of=2)
    past = [*talk(20), cut_at(5, tokens=100), cut_at(8, after="e19", tokens=100)]
    rolled = checkpoint("e31", sources=("e81", "e82"), level=1, tokens=90_000)
    count = Counted(90_000, seq=80)
    assert due(*past, rolled, count=count, limits=small)[0] == "pressure"


def test_a_refused_request_is_an_emergency_until_something_is_cut():
    overflow = Counted(0, seq=20, overflowed=True)
    past = talk(10)
    assert due(*past, count=overflow)[0] == "emergency"
    assert due(*past, cut_at(5), count=overflow) is None


# -- how much ---------------------------------------------------------------------------------


def forced(*events, **fields):
    return due(*events, count=Counted(96_000, seq=10_000), **fields)


def test_the_newest_entries_always_stay():
    assert forced(message(), message(message_id="m2")) is None
    kind, after, until, entries = forced(*talk(3))
    assert entries <= 6 - KEPT
    assert (kind, after, until) == ("emergency", None, "e3")


def test_what_has_still_to_be_answered_is_never_covered():
    past = [*talk(2), *(message(message_id=f"n{number}") for number in range(20))]
    assert forced(*past) == ("emergency", None, "e7", 4)


def test_the_open_turn_and_what_is_behind_it_are_never_covered():
    past = [*talk(2), message(message_id="n"), turn_started("t9")]
    more = [reply(f"part {number}", turn="t9") for number in range(20)]
    assert forced(*past, *more) == ("emergency", None, "e7", 4)


def test_nothing_is_cut_between_a_message_and_what_a_turn_did_about_it():
    past = [message("x" * 40_000), turn_started("t1"), worker(), reply(turn="t1")]
    past += [turn_completed("e1", turn="t1"), *talk(5, first=6)]
    assert forced(*past)[2:] == ("e4", 3)


def test_nothing_is_cut_between_a_message_and_its_attachments():
    files = tuple(Attachment(name=f"{number}.txt", body=BODY) for number in range(3))
    first = message("x" * 40_000, attachments=files)
    past = [first, turn_started("t1"), turn_completed("e1", turn="t1"), *talk(5, first=4)]
    assert forced(*past)[2:] == ("e1", 4)


def test_the_next_part_begins_where_the_last_checkpoint_ends():
    past = [*talk(10), cut_at(4)]
    assert forced(*past)[1:] == ("e15", "e27", 6)


def test_a_backlog_is_taken_in_parts_that_a_model_can_read():
    wide = Limits(window_tokens=500_000, keep=10)
    found = due(*talk(300, text="x" * 4 * 1_500), limits=wide)
    assert found == ("interval", None, "e531", 266)  # of 600: 40 % of the window, and not half


def test_what_is_shown_again_is_never_the_end_of_a_part():
    """A retried message is covered by the first checkpoint already."""
    past = [message("a"), turn_started("t1"), turn_failed("e1", turn="t1"), *talk(5, first=4)]
    past += [checkpoint("e22"), retry("t1")]
    found = forced(*past, turn_started("t8"), turn_completed("e1", turn="t8"))
    assert found is None  # nothing but the retried one is old enough


# -- one at a time ----------------------------------------------------------------------------


def test_nothing_is_asked_for_while_a_compaction_is_under_way():
    past = talk(40)
    soon = START + 200 * SECOND
    assert due(*past, at(100, compaction("e47")), now=soon) is None


def test_an_emergency_does_not_wait_for_a_compaction():
    soon = START + 200 * SECOND
    past = [*talk(48), at(100, compaction("e47"))]
    assert due(*past, now=soon) == ("emergency", None, "e95", 48)


def test_a_compaction_of_which_nothing_was_heard_for_long_is_given_up():
    past = [*talk(40), at(0, compaction("e47"))]
    assert due(*past, now=START + round(FORGOTTEN_S * SECOND) - 1) is None
    assert due(*past, now=START + round(FORGOTTEN_S * SECOND))[0] == "interval"


@pytest.mark.parametrize(
    ("failures", "pause_s"),
    [(1, BACKOFF_S), (2, 2 * BACKOFF_S), (3, 4 * BACKOFF_S), (9, LONGEST_BACKOFF_S)],
)
def test_after_a_failure_it_is_tried_again_but_later_each_time(failures, pause_s):
    failed = [at(0, event) for _ in range(failures) for event in (compaction("e47"), FAILED)]
    end = START + round(pause_s * SECOND)
    assert due(*talk(40), *failed, now=end - 1) is None
    assert due(*talk(40), *failed, now=end) is not None


FAILED = compaction_failed()


def test_after_a_failure_a_smaller_part_is_tried():
    failed = (compaction("e47"), FAILED)
    assert due(*talk(40))[3] == 24
    assert due(*talk(40), *failed)[3] == 12
    assert due(*talk(40), *failed * 2)[3] == 6
    assert due(*talk(40), *failed * 9)[3] == 4


def test_a_compaction_that_another_checkpoint_overtook_is_no_failure():
    overtaken = (compaction("e47"), compaction_failed(outcome="cancelled"))
    assert due(*talk(40), *overtaken, now=START)[3] == 24


def test_a_checkpoint_ends_the_failures():
    failed = (compaction("e47"), FAILED, compaction("e47", run="k2"))
    past = [*talk(45), *failed, checkpoint("e7", run="k2")]
    assert due(*past, now=START)[:2] == ("interval", "e7")


# -- rollups ----------------------------------------------------------------------------------


def chronicle(count, *, level=0, first=0):
    """Return talk with so many checkpoints, each of a turn, `e5`, `e10`, …"""
    told, after = [], None
    for number in range(first, first + count):
        seq = 5 * number + 1
        told += [*talk(1, first=seq), checkpoint(f"e{seq + 2}", after=after, level=level)]
        after = f"e{seq + 2}"
    return told


def test_eleven_checkpoints_stay_as_they_are():
    assert due(*chronicle(11)) is None


def test_of_twelve_checkpoints_the_oldest_eight_become_one():
    assert due(*chronicle(12)) == ("rollup", None, "e38", 8)


def test_a_rollup_is_one_level_above_its_sources():
    small = Limits(window_tokens=100_000, keep=50, rollup_at=2, rollup_of=2)
    part = asking(partial(decide, count=None, limits=small, now=LATER))(*chronicle(2)).answer
    assert [one.id for one in part.sources] == ["e5", "e10"]
    assert part.level == 1


def test_rollups_are_rolled_up_too():
    small = Limits(window_tokens=100_000, keep=50, rollup_at=2, rollup_of=2)
    past = [
        *chronicle(4),
        checkpoint("e8", sources=("e5", "e10"), level=1),
        checkpoint("e18", after="e8", sources=("e15", "e20"), level=1),
    ]
    found = asking(partial(decide, count=None, limits=small, now=LATER))(*past).answer
    assert ([one.id for one in found.sources], found.level) == (["e21", "e22"], 2)


def test_room_comes_before_tidiness():
    past = chronicle(12)
    assert due(*past, *talk(40, first=61))[0] == "interval"


def test_the_surroundings_of_a_history_count_too():
    assert SURROUNDINGS > 0
    tiny = Limits(window_tokens=SURROUNDINGS, keep=50)
    assert due(*talk(5), limits=tiny)[0] == "emergency"


def test_a_worker_that_is_still_at_work_keeps_nothing_from_being_covered():
    past = [message(), turn_started("t1"), worker("w1"), turn_completed("e1", turn="t1")]
    assert forced(*past, *talk(10, first=5)) == ("emergency", None, "e19", 10)


# -- jobs --------------------------------------------------------------------------------------


def test_the_conversation_of_a_job_is_never_compacted():
    runs = [OccurrenceFired(due_at=START + number) for number in range(120)]
    assert due(minutely(overlap="queue"), *runs) is None
    full = Counted(LIMITS.window_tokens, 1, overflowed=True)
    assert due(minutely(overlap="queue"), *runs, count=full) is None


def test_what_a_job_tells_is_compacted_with_the_talk_that_it_is_told_in():
    results = [
        ResultDelivered(job="digest", occurrence=EventId(f"o{number}"), text="all quiet")
        for number in range(80)
    ]
    assert due(*results) == ("interval", None, "e24", 24)
