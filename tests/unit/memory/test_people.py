"""Who is who: links make groups of ids, whatever order and shape they have."""

import asyncio
from functools import reduce

import pytest
from hypothesis import given, strategies as st

from schemas.people import PersonLinked, PersonUnlinked
from services.errors import Rejected
from services.memory.identities import Identities, evolve
from services.memory.people import People, link, people_subject, unlink
from services.runtime.writer import Writer
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

ANA, SLACK, DISCORD, BO = "portal:ana", "slack:U1", "discord:7", "portal:bo"
IDS = (ANA, SLACK, DISCORD, BO)
EVENTS = st.lists(
    st.one_of(
        st.builds(PersonLinked, person=st.sampled_from(IDS), same_as=st.sampled_from(IDS)),
        st.builds(PersonUnlinked, person=st.sampled_from(IDS)),
    ),
    max_size=12,
)


def fold(*events):
    return reduce(evolve, events, Identities())


def linked(person, same_as):
    return PersonLinked(person=person, same_as=same_as)


def test_an_id_that_was_never_linked_stands_for_itself():
    assert Identities().all_of(ANA) == (ANA,)


def test_a_linked_id_is_the_person_that_it_was_linked_to():
    state = fold(linked(SLACK, ANA))
    assert state.canonical(SLACK) == state.canonical(ANA) == ANA
    assert set(state.all_of(SLACK)) == {ANA, SLACK}


@pytest.mark.parametrize(
    "links",
    [
        [(SLACK, ANA), (DISCORD, SLACK)],
        [(DISCORD, SLACK), (SLACK, ANA)],
        [(SLACK, ANA), (DISCORD, SLACK), (SLACK, DISCORD), (ANA, DISCORD), (ANA, ANA)],
    ],
)
def test_chains_and_circles_are_one_person(links):
    state = fold(*(linked(*one) for one in links))
    assert {state.canonical(id_) for id_ in (ANA, SLACK, DISCORD)} == {ANA}
    assert state.canonical(BO) == BO


def test_an_id_that_is_unlinked_is_alone_and_the_others_stay_together():
    state = fold(linked(SLACK, ANA), linked(DISCORD, ANA), PersonUnlinked(person=ANA))
    assert state.all_of(ANA) == (ANA,)
    assert set(state.all_of(SLACK)) == {SLACK, DISCORD}
    assert fold(linked(SLACK, ANA), PersonUnlinked(person=SLACK)) == Identities()


@given(EVENTS)
def test_every_id_is_of_one_person_and_all_its_ids_agree_on_it(events):
    state = fold(*events)
    for id_ in IDS:
        assert id_ in state.all_of(id_)
        assert {state.all_of(other) for other in state.all_of(id_)} == {state.all_of(id_)}
        assert state.canonical(state.canonical(id_)) == state.canonical(id_)


@given(EVENTS, st.sampled_from(IDS), st.sampled_from(IDS))
def test_a_link_makes_one_person_of_two_and_the_same_link_again_changes_nothing(events, one, other):
    state = fold(*events, linked(one, other))
    assert state.canonical(one) == state.canonical(other)
    assert evolve(state, linked(one, other)) == state


@pytest.fixture
def writer():
    return Writer(FakeLog(), FakeClock(), "test")


async def test_people_are_read_from_the_log_and_belong_to_their_tenant(writer):
    people = People(writer.log)
    assert (await people.of("acme")).canonical(SLACK) == SLACK
    await link(writer, "acme", SLACK, ANA)
    assert (await people.of("acme")).canonical(SLACK) == ANA
    assert (await people.of("globex")).canonical(SLACK) == SLACK
    await unlink(writer, "acme", SLACK)
    assert (await people.of("acme")).canonical(SLACK) == SLACK


async def test_what_is_linked_already_is_not_linked_again_however_many_try_at_once(writer):
    await asyncio.gather(*(link(writer, "acme", SLACK, ANA) for _ in range(5)))
    await link(writer, "acme", ANA, SLACK)
    await unlink(writer, "acme", BO)
    assert [recorded.subject for recorded in writer.log.events] == [people_subject("acme")]


@pytest.mark.parametrize("wrong", ["ana", "", ":", "slack:", " :x"])
async def test_an_id_without_a_platform_is_refused(writer, wrong):
    with pytest.raises(Rejected):
        await link(writer, "acme", wrong, ANA)
    assert writer.log.events == []
