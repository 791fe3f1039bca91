"""What people say is remembered without anybody asking for it, on real servers."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from structlog.testing import capture_logs

from projections.persistence import pending
from schemas.channel import BranchConcluded, BranchRequested
from schemas.memory import MemorySaved
from schemas.subjects import matching
from services.branch import occasions
from services.branch.occasions import Occasions
from services.errors import Transient
from services.runtime.config import PersistenceSettings
from services.runtime.conversations import Conversations
from services.runtime.database import using
from services.runtime.persistence import SECOND
from services.runtime.writer import Writer
from tests.support.builders import (
    CONVERSATION,
    START,
    at,
    branch,
    branch_concluded,
    message,
    persistence,
    story,
    turn_completed,
)
from tests.support.fake_clock import FakeClock
from tests.support.portal import portal_maker  # noqa: F401 - found by name
from tests.support.read_models import StoredLog, project
from tests.support.replicas import FakeSnapshots
from tests.support.servers import until

pytestmark = pytest.mark.integration

SETTINGS = PersistenceSettings(messages=3, idle_s=60)
LATER = START + 100 * SECOND


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


def room(number):
    return CONVERSATION._replace(conversation=f"room-{number}")


def say(*rooms):
    """Return one message in each of these rooms, as they are in one log."""
    told = [at(0, message(message_id=f"m{n}")) for n in range(len(rooms))]
    return story(*(replace(each, subject=room(n)) for n, each in zip(rooms, told, strict=True)))


async def found(pool, said_since=0, **how):
    async with using(pool) as conn:
        rows = await pending(conn, said_since=said_since, **how)
    return [(row.conversation, row.said_seq, row.last_seq) for row in rows]


def looking(pool, log):
    """Return somebody who looks, with a memory of their own."""
    writer = Writer(log, FakeClock(LATER), "branch")
    return Occasions(writer, Conversations(log, FakeSnapshots()), pool, SETTINGS)


def requested(log):
    return [r for r in log.events if isinstance(r.event, BranchRequested)]


# -- where to look ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "rows"),
    [
        pytest.param([message()], [("general", 1, 1)], id="something was said"),
        pytest.param([message(), persistence()], [], id="and looked for"),
        pytest.param(
            [message(), persistence(), message(message_id="m2"), branch_concluded("p1")],
            [("general", 3, 4)],
            id="and said again",
        ),
        pytest.param([message(), branch()], [("general", 1, 1)], id="a thought is no look"),
        pytest.param(
            [message(), turn_completed("e1", tool_calls=12)], [("general", 1, 2)], id="a long turn"
        ),
        pytest.param([branch(), branch_concluded()], [], id="nothing was said"),
    ],
)
async def test_a_row_says_where_something_was_said(pool, told, rows):
    await project(pool, story(*told), cuts=(1,))
    assert await found(pool) == rows


async def test_old_talk_is_left_alone_and_pages_follow_one_another(pool):
    await project(pool, say(1, 2, 3))
    assert await found(pool, said_since=START + 1) == []
    assert [name for name, *_ in await found(pool, limit=2)] == ["room-1", "room-2"]
    assert [name for name, *_ in await found(pool, after=2)] == ["room-3"]


# -- looking ----------------------------------------------------------------------------------


async def test_a_look_requests_what_is_due_in_every_conversation(pool, monkeypatch):
    monkeypatch.setattr(occasions, "PAGE", 2)
    log = StoredLog(say(1, 2, 3, 4, 5))
    await project(pool, log.events)
    assert await looking(pool, log).run_once(START + SECOND) == []
    assert len(await looking(pool, log).run_once(LATER)) == 5
    assert [r.event.purpose for r in requested(log)] == ["persistence"] * 5


async def test_a_read_model_that_lags_behind_leads_to_nothing_twice(pool):
    log = StoredLog(say(1, 2))
    await project(pool, log.events)
    await looking(pool, log).run_once(LATER)
    log._ids.clear()
    assert await looking(pool, log).run_once(LATER) == []
    assert len(requested(log)) == 2


async def test_replicas_that_look_at_once_request_each_once(pool):
    log = StoredLog(say(1, 2, 3))
    await project(pool, log.events)
    replicas = [looking(pool, log) for _ in range(4)]
    await asyncio.gather(*(replica.run_once(LATER) for replica in replicas))
    assert len({r.event.run_id for r in requested(log)}) == len(requested(log)) == 3


async def test_what_has_piled_up_is_worked_off_bit_by_bit(pool, monkeypatch):
    monkeypatch.setattr(occasions, "MOST", 2)
    log = StoredLog(say(1, 2, 3))
    await project(pool, log.events)
    one = looking(pool, log)
    assert [len(await one.run_once(LATER)) for _ in range(3)] == [2, 1, 0]


async def test_a_database_that_is_away_is_asked_again_later(pool):
    log = StoredLog(say(1))
    await project(pool, log.events)
    await pool.close()
    with pytest.raises(Transient):
        await looking(pool, log).run_once(LATER)
    assert requested(log) == []


# -- the whole of it --------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_said_in_one_conversation_is_known_in_another(new_portal):
    portal = await new_portal(PENSTOCK_PERSISTENCE_ENABLED="true", PENSTOCK_PERSISTENCE_IDLE_S="1")
    log = portal.process.log

    async def events(kind, pattern):
        return [r.event async for r in log.read(pattern) if isinstance(r.event, kind)]

    channel = str(portal.subject("lounge"))
    memory = matching("default", "main", entity="memory")
    async with portal.stream("lounge") as stream:
        await portal.settled("lounge", "By the way, our staging server is called Heron.")
        await until(partial(events, MemorySaved, memory), timeout_s=60)
        await until(partial(events, BranchConcluded, channel), timeout_s=30)
        told = await portal.settled("lounge", "thanks")
        assert [event.name for event in told if event.name == "reply"] == ["reply"]
        await stream.until("message", text="thanks")
        assert not {name for name in stream.names if name.startswith(("branch", "run"))}
    (saved,) = await events(MemorySaved, memory)
    assert (saved.text, saved.person) == ("Our staging server is called Heron.", "portal:ana")
    assert saved.scope == "person"  # nobody else has heard it
    (request,) = await events(BranchRequested, channel)
    (concluded,) = await events(BranchConcluded, channel)
    assert request.purpose == "persistence"
    assert concluded.outcome == "succeeded"
    assert saved.memory_id in concluded.conclusion
    assert (await portal.state("lounge"))["runs"] == []
    heard = await portal.settled("elsewhere", "what is our staging server called?")
    assert any("Heron" in event.data.get("text", "") for event in heard if event.name == "reply")
    question = await portal.say("stranger", "what is our staging server called?", author="ben")
    async with portal.stream("stranger", after=question.json()["seq"] - 1) as stream:
        await stream.until("branch_concluded")
        await stream.until("settled")
        assert "Heron" not in str([event.data for event in stream.heard])


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_looked_at_late_does_not_undo_what_was_said_since(new_portal):
    portal = await new_portal(
        PENSTOCK_PERSISTENCE_ENABLED="true", PENSTOCK_PERSISTENCE_MESSAGES="2"
    )
    log = portal.process.log
    memory = matching("default", "main", entity="memory")

    async def saved():
        return [r.event.text async for r in log.read(memory) if isinstance(r.event, MemorySaved)]

    async def looked():
        channel = log.read(str(portal.subject("lounge")))
        return [r.event async for r in channel if isinstance(r.event, BranchConcluded)]

    await portal.settled("lounge", "By the way, our release day is Thursday.")
    await portal.settled("office", "remember that our release day is Friday")
    await until(saved)
    await portal.settled("lounge", "thanks")
    await until(looked, timeout_s=60)
    assert await saved() == ["Our release day is Friday"]
