"""A model finds its own words right behind what it answered, and what is still open last."""

from schemas.channel import MessageReceived, Person, ReplySent, TurnCompleted, TurnStarted
from schemas.envelope import seal
from services.runtime.conversation import Conversation, evolve
from services.runtime.event_log import Recorded


def told(*events):
    """Fold events whose ids are `e1`, `e2`, …; return the texts of the history."""
    state = Conversation()
    for seq, event in enumerate(events, 1):
        envelope = seal(event, id=f"e{seq}", at=seq, actor="test")
        state = evolve(state, Recorded(seq, "evt.t.a.portal.c.channel._", envelope, event, b""))
    return [entry.text for entry in state.entries]


def said(text):
    return MessageReceived(message_id=text, author=Person(id="portal:ana", name="ana"), text=text)


STARTED = TurnStarted(turn_id="t1", owner="o")


def replied(text):
    return ReplySent(turn_id="t1", text=text)


def completed(*handled):
    return TurnCompleted(turn_id="t1", handled=handled)


def test_a_message_that_came_too_late_for_a_turn_stands_behind_its_reply():
    history = told(said("first"), STARTED, said("late"), replied("answer"), completed("e1"))
    assert history == ["first", "answer", "late"]


def test_a_message_that_came_in_time_stands_before_the_reply():
    history = told(said("first"), STARTED, said("second"), replied("both"), completed("e1", "e3"))
    assert history == ["first", "second", "both"]


def test_what_was_shown_to_the_turn_stays_the_beginning_of_what_is_shown_to_the_next():
    before = [said("first"), STARTED, said("in time")]
    after = [said("late"), replied("both"), said("later"), completed("e1", "e3")]
    shown = told(*before)
    assert told(*before, *after)[: len(shown)] == shown
    assert told(*before, *after) == ["first", "in time", "both", "late", "later"]


def test_a_turn_that_said_nothing_leaves_the_order_as_it_was():
    assert told(said("first"), STARTED, said("late"), completed("e1")) == ["first", "late"]
