"""What became of a message: who took it, what took long, where it stands."""

from dataclasses import replace

from msgspec import structs

from schemas.dead import DeliveryParked
from schemas.run import ModelCalled, ModelReturned
from services.runtime.why_message import explain
from tests.support.builders import (
    CONVERSATION,
    SECOND,
    SHA,
    START,
    Given,
    at,
    branch,
    branch_concluded,
    caused_by,
    forked,
    message,
    reply,
    story,
    turn_completed,
    turn_failed,
    turn_started,
)


def called(second, run="t1", entity="turn"):
    event = ModelCalled(
        run_id=run, step=1, model="scripted/one", prompt=SHA, tools=SHA, request=SHA
    )
    id_ = None if entity == "turn" else run
    return Given(event, at_s=second, subject=CONVERSATION.of(entity, id_))


def returned(second, run="t1", entity="turn"):
    event = ModelReturned(run_id=run, step=1, model="scripted/one")
    id_ = None if entity == "turn" else run
    return Given(event, at_s=second, subject=CONVERSATION.of(entity, id_))


def why(*told, ref="e1", now=60.0):
    found = explain(story(*told), ref, now=START + round(now * SECOND))
    assert found is not None
    return found


ASKED = at(0, message("what day?"))


def test_an_answered_message_says_how_long_it_took_and_what_took_longest():
    found = why(
        ASKED,
        *(at(2, turn_started()), called(2), returned(9), at(9, reply())),
        at(9, turn_completed("e1")),
    )
    assert (found.standing, found.why, found.reply_ms) == (
        "answered",
        "it was answered after 9.0 s",
        9_000,
    )
    assert (found.slowest.service, found.slowest.what, found.slowest.took_ms) == (
        "channel",
        "scripted/one answered",
        7_000,
    )
    assert found.steps[0].what == "took it into turn t1"
    assert found.steps[0].took_ms == 2_000


def test_a_message_that_nobody_took_says_for_how_long():
    found = why(ASKED)
    assert (found.standing, found.why) == (
        "waiting",
        "channel: no channel service has taken it, since 60 s",
    )


def test_a_turn_that_waits_for_its_model_says_so():
    found = why(ASKED, at(1, turn_started()), called(2))
    assert (found.standing, found.why) == ("working", "channel: waits for scripted/one, since 58 s")


def test_a_branch_that_nobody_took_is_where_it_stands():
    asked = at(2, branch())
    told = (ASKED, at(1, turn_started()), asked, at(3, turn_completed("e1", outcome="silent")))
    events = story(*told)
    of_turn = structs.replace(events[2].envelope, turn="t1")
    with_turn = [*events[:2], replace(events[2], envelope=of_turn), *events[3:]]
    found = explain(with_turn, "e1", now=START + 60 * SECOND)
    assert (found.standing, found.why) == (
        "working",
        "branch: no branch service has taken b1, since 58 s",
    )
    done = [*with_turn, *story(*told, at(5, branch_concluded()))[-1:]]
    found = explain(done, "e1", now=START + 60 * SECOND)
    assert "channel: no channel service has taken it" in found.why


def test_a_message_whose_turn_failed_says_why():
    found = why(ASKED, at(1, turn_started()), at(9, turn_failed("e1", reason="no model")))
    assert (found.standing, found.why) == ("failed", "its turn was given up: no model")


def test_silence_that_was_chosen_says_its_reason():
    skipped = turn_completed("e1", outcome="skipped", reason="not for me")
    found = why(ASKED, at(1, turn_started()), at(2, skipped))
    assert (found.standing, found.why) == (
        "silent",
        "the agent chose to say nothing: not for me",
    )


def test_a_message_whose_delivery_was_given_up_names_who_gave_it_up():
    parked = DeliveryParked(
        durable="channel", subject=str(CONVERSATION), seq=1, reason="a bug", attempts=8
    )
    found = why(ASKED, at(3, parked))
    assert found.standing == "parked"
    assert "channel gave it up after 8 attempts: a bug" in [step.what for step in found.steps]


def test_a_message_is_found_by_the_platforms_id_and_by_its_turn():
    told = (at(0, message(message_id="m7")), caused_by("e1", turn_started("t-77")))
    assert why(*told, ref="m7").ref == "e1"
    assert why(*told, ref="t-7").ref == "e1"


def test_what_is_not_there_is_not_explained():
    assert explain(story(ASKED), "nothing", now=START) is None


def test_a_fork_is_explained_by_what_it_shared_and_still_had_to_be_answered():
    turn = caused_by("e1", at(1, turn_started()))
    done = (at(4, reply("hi")), at(5, turn_completed("elsewhere")))
    for ref in ("e1", "t1"):
        found = why(at(0, forked("elsewhere")), turn, *done, ref=ref)
        assert (found.standing, found.reply_ms) == ("answered", 4_000)
        assert found.why == "it was answered after 4.0 s"
    assert why(at(0, forked("elsewhere"))).standing == "waiting"
