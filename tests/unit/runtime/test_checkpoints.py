"""A checkpoint stands for exactly what it covers; all else stays as it was and where it was."""

from functools import reduce

import pytest
from hypothesis import given, settings, strategies as st

from services.compactor.decider import part
from services.runtime.conversation import EVERYTHING, Conversation, calls_for_turn, can_cut, evolve
from tests.support.builders import (
    branch,
    branch_concluded,
    checkpoint,
    compaction,
    compaction_failed,
    message,
    reply,
    retry,
    story,
    turn_completed,
    turn_failed,
    turn_started,
)


def fold(*events, keep=EVERYTHING):
    return reduce(lambda s, r: evolve(s, r, keep=keep), story(*events), Conversation())


def shown(*events, **how):
    return [entry.id for entry in fold(*events, **how).entries]


def numbers(*events):
    return [one.number for one in fold(*events).checkpoints]


TALK = [
    *(message("a"), turn_started("t1"), reply("b"), turn_completed("e1")),
    *(message("c", message_id="m2"), turn_started("t2"), reply("d", turn="t2")),
    *(turn_completed("e5", turn="t2"), message("e", message_id="m3")),
]  # entries e1 e3 e5 e7 e9


def test_what_is_covered_is_no_longer_shown_and_the_rest_stays():
    assert shown(*TALK, checkpoint("e3")) == ["e5", "e7", "e9"]
    (one,) = fold(*TALK, checkpoint("e3", title="Letters", entries=2, tokens=9)).checkpoints
    assert (one.id, one.number, one.title, one.after, one.until) == (
        *("e10", 1, "Letters", None, "e3"),
    )


def test_checkpoints_follow_on_one_another():
    state = fold(*TALK, checkpoint("e3"), checkpoint("e7", after="e3"))
    assert [entry.id for entry in state.entries] == ["e9"]
    assert [(one.after, one.until) for one in state.checkpoints] == [(None, "e3"), ("e3", "e7")]
    assert state.covered == "e7"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(checkpoint("e7"), id="from the beginning again"),
        pytest.param(checkpoint("e7", after="e5"), id="with a gap"),
        pytest.param(checkpoint("e7", after="e1"), id="overlapping"),
        pytest.param(checkpoint("e3", after="e3"), id="of nothing"),
        pytest.param(checkpoint("e7", after="e3", level=1), id="a rollup without sources"),
        pytest.param(checkpoint("e3", sources=("e99",), level=1), id="of unknown sources"),
    ],
)
def test_one_that_does_not_follow_changes_nothing(wrong):
    past = (*TALK, checkpoint("e3"))
    assert fold(*past, wrong).entries == fold(*past).entries
    assert fold(*past, wrong).checkpoints == fold(*past).checkpoints
    assert not can_cut(fold(*past), wrong)


def test_one_that_reaches_into_the_open_turn_changes_nothing():
    past = (*TALK, turn_started("t3"), reply("f", turn="t3"))
    assert shown(*past, checkpoint("e11")) == shown(*past)
    assert shown(*past, checkpoint("e7")) == ["e9", "e11"]


def test_what_the_open_turn_answers_stays_though_it_is_covered():
    past = (*TALK, turn_started("t3"))
    state = fold(*past, checkpoint("e9"))
    assert [(entry.id, entry.again) for entry in state.entries] == [("e9", True)]
    assert [trigger.id for trigger in state.unhandled] == ["e9"]


def test_a_checkpoint_neither_begins_nor_ends_a_turn():
    past = (*TALK, turn_started("t3"), reply("f", turn="t3"))
    before, after = fold(*past), fold(*past, checkpoint("e7"))
    assert after.turn == before.turn
    assert after.unhandled == before.unhandled
    assert calls_for_turn(fold(*TALK, checkpoint("e7")), max_retriggers=3)


def test_a_channel_that_forgot_what_is_covered_shows_what_is_behind_it():
    talk = [reply(str(number)) for number in range(5)]
    assert shown(*talk, keep=2) == ["e3", "e4", "e5"]
    assert shown(*talk, checkpoint("e2"), keep=2) == ["e3", "e4", "e5"]
    assert shown(*talk, checkpoint("e4"), keep=2) == ["e5"]


def test_a_retried_message_is_shown_again_though_it_is_covered():
    failed = [message("a"), turn_started("t1"), turn_failed("e1", turn="t1")]
    past = (*failed, message("b", message_id="m2"), turn_started("t2"))
    past += (turn_completed("e4", turn="t2"), checkpoint("e4"))
    assert shown(*past) == []
    state = fold(*past, retry("t1"))
    assert [(entry.id, entry.text, entry.again) for entry in state.entries] == [("e1", "a", True)]
    assert shown(*past, retry("t1"), retry("t1")) == ["e1"]
    assert calls_for_turn(state, max_retriggers=3)


def test_a_retry_amid_another_turn_stands_behind_what_that_turn_does():
    failed = [message("a"), turn_started("t1"), turn_failed("e1", turn="t1")]
    past = (*failed, message("b", message_id="m2"), checkpoint("e1"), turn_started("t2"))
    past += (retry("t1"), reply("to b", turn="t2"), turn_completed("e4", turn="t2"))
    assert shown(*past) == ["e4", "e8", "e1"]


# -- rollups ----------------------------------------------------------------------------------

CUT = (*TALK, checkpoint("e1"), checkpoint("e3", after="e1"), checkpoint("e5", after="e3"))


def test_a_rollup_takes_the_place_of_its_sources():
    rolled = checkpoint("e3", sources=("e10", "e11"), level=1)
    state = fold(*CUT, rolled)
    assert [(one.number, one.level, one.sources) for one in state.checkpoints] == [
        *((4, 1, (1, 2)), (3, 0, ())),
    ]
    assert (state.covered, shown(*CUT, rolled)) == ("e5", shown(*CUT))
    assert numbers(*CUT, rolled, checkpoint("e7", after="e5")) == [4, 3, 5]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(checkpoint("e5", sources=("e10", "e12"), level=1), id="with a gap"),
        pytest.param(checkpoint("e3", sources=("e11", "e10"), level=1), id="in another order"),
        pytest.param(checkpoint("e5", sources=("e10", "e11"), level=1), id="of more than it has"),
        pytest.param(checkpoint("e3", sources=("e10", "e11"), level=2), id="two levels up"),
    ],
)
def test_a_rollup_of_what_does_not_belong_together_changes_nothing(wrong):
    assert fold(*CUT, wrong).checkpoints == fold(*CUT).checkpoints


# -- compactions ------------------------------------------------------------------------------


def test_a_compaction_is_under_way_until_it_has_a_checkpoint_or_has_failed():
    begun = fold(*TALK, compaction("e3"))
    assert (begun.compaction.run_id, begun.requested("k1"), begun.run("k1")) == ("k1", 10, None)
    assert begun.entries == fold(*TALK).entries
    assert fold(*TALK, compaction("e3"), checkpoint("e3", run="k1")).compaction is None
    failed = fold(*TALK, compaction("e3"), compaction_failed())
    assert (failed.compaction, failed.compaction_failures) == (None, 1)
    assert failed.entries == fold(*TALK).entries


def test_what_another_compaction_says_does_not_end_this_one():
    past = (*TALK, compaction("e3", run="k2"))
    assert fold(*past, compaction_failed("k1")).compaction.run_id == "k2"
    assert fold(*past, checkpoint("e3")).compaction.run_id == "k2"


# -- whatever happens in whatever order -------------------------------------------------------

MOVES = ("say", "start", "reply", "branch", "conclude", "complete", "fail", "retry", "cut", "roll")


class Teller:
    """Tells a conversation move by move, as the channel and the compactor may."""

    def __init__(self):
        self.events = []
        self.turns = 0
        self.covered = []

    @property
    def state(self):
        return fold(*self.events)

    def move(self, name, share):
        event = getattr(self, name)(self.state, share)
        if event is not None:
            self.events.append(event)

    def say(self, state, share):
        return message("said", message_id=f"m{len(self.events)}")

    def start(self, state, share):
        if state.turn is None and state.unhandled:
            self.turns += 1
            return turn_started(f"t{self.turns}")
        return None

    def reply(self, state, share):
        return reply("told", turn=state.turn.turn_id) if state.turn else None

    def branch(self, state, share):
        return branch(f"b{len(self.events)}") if state.turn else None

    def conclude(self, state, share):
        return branch_concluded(state.runs[0].run_id) if state.runs else None

    def complete(self, state, share):
        if state.turn is None:
            return None
        handled = [trigger.id for trigger in state.unhandled]
        handled = handled[: max(1, round(share * len(handled)))]
        return turn_completed(*handled, turn=state.turn.turn_id)

    def fail(self, state, share):
        if state.turn is None:
            return None
        handled = [trigger.id for trigger in state.unhandled]
        return turn_failed(*handled, turn=state.turn.turn_id)

    def retry(self, state, share):
        return retry(state.failed[0][0]) if state.failed else None

    def cut(self, state, share):
        found = part(state, "interval", share, by_number=True, kept=round(3 * share))
        if found is None:
            return None
        self.covered.append(tuple(entry.id for entry in found.entries if not entry.again))
        return checkpoint(found.until, after=found.after)

    def roll(self, state, share):
        level = state.checkpoints[0].level if state.checkpoints else 0
        same = [one for one in state.checkpoints if one.level == level][:3]
        if len(same) < 2:
            return None
        ids = tuple(one.id for one in same)
        return checkpoint(same[-1].until, after=same[0].after, sources=ids, level=level + 1)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    moves=st.lists(st.tuples(st.sampled_from(MOVES), st.floats(0, 1)), min_size=10, max_size=60),
    keep=st.integers(1, 6),
)
def test_whatever_happens_nothing_uncovered_is_lost_and_the_order_stays(moves, keep):
    teller = Teller()
    for name, share in moves:
        before = teller.state
        count = len(teller.events)
        teller.move(name, share)
        if len(teller.events) == count:
            continue
        after = teller.state
        if name == "cut":
            assert after.cuts == before.cuts + 1, "a part that the decider chose can be cut"
            assert len(after.entries) < len(before.entries)
            assert (after.turn, after.unhandled) == (before.turn, before.unhandled)
        elif name == "roll":
            assert after.cuts == before.cuts + 1
            assert after.entries == before.entries
    state = teller.state
    # Everything that was said or done is covered once or shown, and in the same order as without
    # any checkpoint.
    told = [id_ for ids in teller.covered for id_ in ids]
    told += [entry.id for entry in state.entries if not entry.again]
    assert told == uncompacted(teller.events)
    # What has still to be answered can be seen.
    visible = {entry.id for entry in state.entries}
    assert {trigger.id for trigger in state.unhandled} <= visible
    # The chronicle has no gap.
    ends = [None, *(one.until for one in state.checkpoints)]
    assert [one.after for one in state.checkpoints] == ends[:-1]
    # A channel that keeps little shows a tail of it, and the same checkpoints.
    short = fold(*teller.events, keep=keep)
    assert short.checkpoints == state.checkpoints
    assert (short.unhandled, short.turn) == (state.unhandled, state.turn)


def uncompacted(events):
    """Return the ids of all entries, in the order of a history that is never compacted."""
    state = Conversation()
    for recorded in story(*events):
        if recorded.envelope.type != "checkpoint_cut":
            state = evolve(state, recorded, keep=EVERYTHING)
    return [entry.id for entry in state.entries]
