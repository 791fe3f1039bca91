"""Who hears what is said in a conversation decides what is remembered and recalled there."""

from dataclasses import dataclass
from functools import reduce

import pytest

from schemas.base import EventId
from schemas.channel import Person, TurnStarted
from schemas.schedule import OccurrenceFired
from services.memory import audience
from services.memory.heard import heard
from services.memory.identities import Identities
from services.runtime.conversation import Conversation, evolve
from tests.support.builders import (
    ANA,
    BEN,
    CONVERSATION,
    branch,
    branch_concluded,
    message,
    reply,
    story,
    turn_started,
    worker,
    worker_concluded,
)
from tests.support.jobs import JOB, MINUTE, NINE, minutely

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


# -- runs of jobs --------------------------------------------------------------------------------


def job_told(*events):
    """Return the audience of a run whose result is told where these events happened."""
    return audience.of_job(fold(*events), CONVERSATION)


def test_what_a_job_saves_is_everybodys_only_where_everybody_hears_its_result():
    assert job_told(said(group=True)).scope == "agent"
    for closed in (
        job_told(said()),
        job_told(said(1), said(2, BEN)),
        job_told(said(group=True, private=True)),
        job_told(),
    ):
        assert (closed.scope, closed.conversation, closed.person) == ("channel", HERE, None)


def test_a_job_that_tells_nobody_keeps_what_it_saves_to_itself():
    silent = audience.of_job(None, JOB)
    assert (silent.scope, silent.conversation) == ("channel", "cron/digest")
    assert not silent.may_see(Kept("channel", conversation=HERE))
    assert silent.may_see(Kept("agent"))


def test_a_job_recalls_nothing_that_is_a_persons_own_even_if_that_person_alone_is_told():
    for told in (job_told(said()), job_told(said(group=True)), audience.of_job(None, JOB)):
        assert told.own == ()
        assert not told.may_see(Kept("person", "portal:ana", HERE))
        assert not told.may_read(of(said()))


def test_a_job_recalls_what_belongs_to_where_its_result_is_told_and_what_everybody_may_know():
    told = job_told(said(group=True, private=True))
    assert told.may_see(Kept("channel", conversation=HERE))
    assert not told.may_see(Kept("channel", conversation="portal/other"))
    assert told.may_see(Kept("agent"))
    assert told.may_see(Kept("tenant"))


def test_nothing_that_is_addressed_to_a_run_of_a_job_was_said_by_a_person():
    fired = OccurrenceFired(due_at=NINE)
    fork = reduce(
        evolve, story(minutely(prompt="note the day"), fired, subject=JOB), Conversation()
    )
    assert heard(fork, occurrence=EventId("e2")).said == ()


def test_a_run_of_a_job_was_shown_nothing_of_another_one():
    told = (
        minutely(overlap="allow"),
        OccurrenceFired(due_at=NINE),
        OccurrenceFired(due_at=NINE + MINUTE),
        TurnStarted(turn_id="t1", owner="one", occurrence=EventId("e2")),
        branch(forked_at="e4"),
        branch_concluded(text="It is Thursday."),
    )
    fork = reduce(evolve, story(*told, subject=JOB), Conversation())
    assert heard(fork, occurrence=EventId("e2")).own == ("It is Thursday.",)
    assert heard(fork, occurrence=EventId("e3")).own == ()
