"""Agents are what the configuration stream says; defining one again says nothing new."""

import asyncio

import pytest

from schemas.base import AgentId
from schemas.config import AgentRetired
from services.errors import LogUnavailable
from services.runtime.agents import (
    FRESH_S,
    Agent,
    Agents,
    UnknownAgent,
    config_subject,
    define,
)
from services.runtime.writer import Writer
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

ATLAS = Agent("acme", "atlas", "Atlas", "Be brief.", "anthropic/claude-sonnet-4-5")
BOB = Agent("acme", "bob", "Bob")


@pytest.fixture
def log():
    return FakeLog()


@pytest.fixture
def writer(log):
    return Writer(log, FakeClock(), "config")


async def retire(writer, agent):
    event = AgentRetired(agent=AgentId(agent))
    await writer.log.append(config_subject("acme"), writer.seal(event))


async def test_there_are_the_agents_that_were_defined_by_id(log, writer):
    await define(writer, BOB)
    await define(writer, ATLAS)
    assert await Agents(log).of("acme") == [ATLAS, BOB]
    assert await Agents(log).get("acme", "atlas") == ATLAS


async def test_the_last_definition_counts(log, writer):
    agents = Agents(log)
    await define(writer, BOB)
    assert await agents.of("acme") == [BOB]
    renamed = Agent("acme", "bob", "Robert")
    await define(writer, renamed)
    assert await agents.of("acme") == [renamed]
    assert await agents.get("acme", "bob") == renamed


async def test_a_retired_agent_is_gone(log, writer):
    agents = Agents(log)
    await define(writer, ATLAS)
    await define(writer, BOB)
    await retire(writer, "atlas")
    assert await agents.of("acme") == [BOB]
    with pytest.raises(UnknownAgent, match="has no agent 'atlas'; it has: bob"):
        await Agents(log).get("acme", "atlas")


async def test_a_retired_agent_may_be_defined_again(log, writer):
    await define(writer, ATLAS)
    await retire(writer, "atlas")
    await define(writer, ATLAS)
    assert await Agents(log).get("acme", "atlas") == ATLAS


async def test_an_agent_that_was_defined_after_the_first_question_is_found(log, writer):
    agents = Agents(log)
    with pytest.raises(UnknownAgent, match="it has: none"):
        await agents.get("acme", "atlas")
    await define(writer, ATLAS)
    assert await agents.get("acme", "atlas") == ATLAS


async def test_a_process_that_knows_an_agent_sees_soon_that_it_has_changed(log, writer):
    clock = FakeClock()
    agents = Agents(log, clock)
    await define(writer, BOB)
    assert await agents.get("acme", "bob") == BOB
    renamed = Agent("acme", "bob", "Robert")
    await define(writer, renamed)
    assert await agents.get("acme", "bob") == BOB
    await clock.sleep(FRESH_S)
    assert await agents.get("acme", "bob") == renamed
    await retire(writer, "bob")
    await clock.sleep(FRESH_S)
    with pytest.raises(UnknownAgent):
        await agents.get("acme", "bob")


async def test_while_the_log_is_away_an_agent_is_as_it_was_last_seen(log, writer, monkeypatch):
    clock = FakeClock()
    agents = Agents(log, clock)
    await define(writer, BOB)
    await agents.get("acme", "bob")

    async def away(*_, **__):
        raise LogUnavailable
        yield

    monkeypatch.setattr(log, "read", away)
    await clock.sleep(FRESH_S)
    assert await agents.get("acme", "bob") == BOB
    with pytest.raises(LogUnavailable):
        await agents.get("acme", "atlas")


async def test_tenants_do_not_share_agents(log, writer):
    await define(writer, ATLAS)
    with pytest.raises(UnknownAgent, match="tenant 'globex' has no agent 'atlas'"):
        await Agents(log).get("globex", "atlas")


async def test_an_unchanged_definition_is_not_repeated(log, writer):
    await define(writer, ATLAS)
    await define(writer, ATLAS)
    assert len(log.events) == 1


async def test_processes_that_start_at_once_define_an_agent_once(log):
    writers = [Writer(log, FakeClock(), "config") for _ in range(8)]
    await asyncio.gather(*(define(writer, ATLAS) for writer in writers))
    assert len(log.events) == 1


async def test_a_definition_may_change_back(log, writer):
    for model in ("a/1", "b/2", "a/1"):
        await define(writer, Agent("acme", "bob", "Bob", model=model))
    assert [recorded.event.model for recorded in log.events] == ["a/1", "b/2", "a/1"]
