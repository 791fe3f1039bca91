"""Which agents there are: the fold of a tenant's configuration stream."""

import asyncio
from dataclasses import dataclass
from typing import Final

from schemas.base import AgentId
from schemas.config import AgentDefined, AgentRetired
from schemas.subjects import Subject
from services.errors import Rejected, Transient
from services.runtime import ids
from services.runtime.behind import HistoryGone, behind
from services.runtime.clock import Clock, SystemClock
from services.runtime.event_log import EventLog
from services.runtime.writer import Writer

FRESH_S: Final = 2.0  # how long what was read is taken for the newest


class UnknownAgent(Rejected):
    """There is no such agent."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent as it is defined now."""

    tenant: str
    id: str
    name: str
    instructions: str = ""
    model: str | None = None


def config_subject(tenant: str) -> str:
    """Return the subject of a tenant's configuration."""
    return str(Subject(tenant, entity="config"))


class Agents:
    """Reads the configuration as it grows; what was read is kept, and looked at again soon."""

    def __init__(self, log: EventLog, clock: Clock | None = None) -> None:
        self._log = log
        self._clock = clock or SystemClock()
        self._known: dict[str, dict[str, Agent]] = {}
        self._read: dict[str, int] = {}
        self._read_at: dict[str, float] = {}
        self._reading = asyncio.Lock()

    async def of(self, tenant: str) -> list[Agent]:
        """Return the tenant's agents, by id."""
        async with self._reading:
            asked_at = self._clock.monotonic()
            try:
                await self._read_on(tenant)
            except HistoryGone:
                del self._known[tenant], self._read[tenant]
                await self._read_on(tenant)
            self._read_at[tenant] = asked_at
            agents = self._known[tenant]
            return [agents[id_] for id_ in sorted(agents)]

    async def _read_on(self, tenant: str) -> None:
        """Take in what came since.

        Raises:
            HistoryGone: what is known is not in the log any more.
        """
        agents, seq = self._known.setdefault(tenant, {}), self._read.get(tenant, 0)
        async for recorded in behind(self._log, config_subject(tenant), seq):
            self._read[tenant] = recorded.seq
            match recorded.event:
                case AgentDefined(agent=id_, name=name, instructions=text, model=model):
                    agents[id_] = Agent(tenant, id_, name, text, model)
                case AgentRetired(agent=id_):
                    agents.pop(id_, None)
                case _:
                    pass

    async def get(self, tenant: str, agent: str) -> Agent:
        """Return one agent as it was defined at most `FRESH_S` ago; as last seen with the log away.

        Raises:
            UnknownAgent: names those that there are.
        """
        known = self._known.get(tenant, {}).get(agent)
        age = self._clock.monotonic() - self._read_at.get(tenant, 0.0)
        if known is not None and age < FRESH_S:
            return known
        try:
            there = await self.of(tenant)
        except Transient:
            if known is None:
                raise
            return known
        for candidate in there:
            if candidate.id == agent:
                return candidate
        names = ", ".join(candidate.id for candidate in there) or "none"
        raise UnknownAgent(f"tenant {tenant!r} has no agent {agent!r}; it has: {names}")


async def define(writer: Writer, agent: Agent) -> None:
    """Make sure that the log's newest definition of the agent is this one."""
    current = {known.id: known for known in await Agents(writer.log).of(agent.tenant)}
    if current.get(agent.id) == agent:
        return
    event = AgentDefined(
        agent=AgentId(agent.id),
        name=agent.name,
        instructions=agent.instructions,
        model=agent.model,
    )
    subject = config_subject(agent.tenant)
    newest = await writer.log.last(subject, fresh=True)
    seq = newest.seq if newest else 0
    identity = ids.derived("agent", subject, agent.id, str(seq))
    await writer.append_once(subject, writer.seal(event, id=identity), since=seq)
