"""Who hears what is said in a conversation decides what is remembered and recalled there."""

from dataclasses import dataclass
from functools import reduce

import pytest

from schemas.channel import Person
from services.memory import audience
from services.memory.heard import heard
from services.memory.identities import Identities
from services.runtime.conversation import Conversation, evolve
from tests.support.builders import (
    ANA,
    BEN,
    CONVERSATION,
    branch_concluded,
    message,
    reply,
    story,
    turn_started,
    worker,
    worker_concluded,
)

LINKED = Identities(dict.fromkeys(("portal:ana", "slack:U1"), ("portal:ana", "slack:U1")))
HERE = "portal/general"


@dataclass(frozen=True)
class Kept:
    scope: str
    person: str | None = None
    conversation: str | None = None


def fold(*events):
    return reduce(evolve, story(*events), Conversation())


def of(*events, where=CONVERSATION):
    return audience.of(fold(*events), where, LINKED)


def said(number=1, author=ANA, **fields):
    return message(f"text {number}", message_id=f"m{number}", author=author, **fields)


def test_what_one_person_says_alone_is_that_persons():
    alone = of(said(1), said(2))
    assert (alone.scope, alone.person) == ("person", "portal:ana")
    assert alone.own == ("portal:ana", "slack:U1")


def test_what_is_said_in_an_open_group_is_the_agents():
    assert of(said(group=True)).scope == "agent"


def test_what_is_said_in_a_private_group_is_the_groups():
    assert of(said(group=True, private=True)).scope == "channel"


@pytest.mark.parametrize(
    "events",
    [
        (said(group=True),),
        (said(group=True, private=True),),
        (said(1), said(2, BEN)),
        (said(1, group=True), said(2)),
        (said(1), said(2, BEN), *(said(number) for number in range(3, 9))),
    ],
    ids=["group", "private group", "two people", "was a group", "two people once"],
)
def test_where_others_hear_it_nobodys_own_memories_are_recalled(events):
    several = of(*events)
    assert several.own == ()
    assert not several.may_see(Kept("person", "portal:ana", HERE))


def test_where_several_spoke_that_is_no_group_what_is_said_stays_there():
    assert of(said(1), said(2, BEN)).scope == "channel"
    assert of(said(1, group=True), said(2)).scope == "channel"


def test_a_person_with_another_name_is_the_same_person():
    assert of(said(1), said(2, Person(id=ANA.id, name="Ana B."))).scope == "person"


def test_a_conversation_in_which_nobody_spoke_is_nobodys():
    assert (of().scope, of().own) == ("channel", ())


@pytest.mark.parametrize(
    ("kept", "alone", "group", "stranger"),
    [
        (Kept("person", "portal:ana"), True, False, False),
        (Kept("person", "slack:U1"), True, False, False),
        (Kept("person", "portal:ben"), False, False, True),
        (Kept("person", None), False, False, False),
        (Kept("channel", "portal:ana", HERE), True, True, True),
        (Kept("channel", "portal:ana", "portal/other"), False, False, False),
        (Kept("agent", "portal:ben"), True, True, True),
        (Kept("tenant"), True, True, True),
    ],
)
def test_who_may_see_a_memory(kept, alone, group, stranger):
    assert of(said()).may_see(kept) == alone
    assert of(said(group=True)).may_see(kept) == group
    assert of(said(author=BEN)).may_see(kept) == stranger


def test_what_was_said_elsewhere_is_told_only_to_who_could_have_heard_it():
    other = CONVERSATION._replace(conversation="other")
    alone, group, stranger = of(said()), of(said(group=True)), of(said(author=BEN))
    mine = of(said(author=Person(id="slack:U1", name="Ana")), where=other)
    public = of(said(group=True), where=other)
    private = of(said(group=True, private=True), where=other)
    assert [one.may_read(mine) for one in (alone, group, stranger)] == [True, False, False]
    assert [one.may_read(public) for one in (alone, group, stranger)] == [True, True, True]
    assert [one.may_read(private) for one in (alone, group, stranger)] == [False, False, False]
    assert private.may_read(private)


def test_what_a_run_was_shown_is_told_apart_by_who_said_it():
    fork = fold(
        said(),
        worker(),
        turn_started(),
        reply("It is Thursday."),
        worker_concluded(text="Linux"),
        branch_concluded("b0", text="never asked for"),
    )
    shown = heard(fork, system="Be brief.", recalled=("a memory",))
    assert shown.said == ("text 1",)
    assert shown.own == ("It is Thursday.",)
    assert (shown.system, shown.recalled) == (("Be brief.",), ("a memory",))
