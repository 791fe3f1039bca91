"""Look after every agent for which something has changed, and after no other.

A duty is done when it says so, and is asked again when what it depends on has changed. So an agent
at rest costs nothing, and nothing here is decided by what this process remembers: it only saves
looking twice.
"""

from collections.abc import Sequence
from typing import Protocol

import structlog

from projections.activity import Pulse
from services.cortex.reading import pulses
from services.errors import ServiceError
from services.runtime.agents import Agents
from services.runtime.database import Pool

log = structlog.get_logger()


class Duty(Protocol):
    """Something that is kept up to date for each agent; any number of replicas may do it."""

    name: str

    def depends_on(self, pulse: Pulse, now: int) -> object:
        """Return what its outcome depends on; the same as before means that nothing is to do."""
        ...

    async def look(self, pulse: Pulse, now: int) -> bool:
        """Do what is to be done; return False to be asked again at the next look.

        Args:
            pulse: The agent.
            now: UTC microseconds.

        Raises:
            ServiceError: it could not; it is asked again.
        """
        ...


class Tending:
    """All duties for all agents."""

    def __init__(self, pool: Pool, agents: Agents, duties: Sequence[Duty]) -> None:
        self._pool = pool
        self._agents = agents
        self._duties = duties
        self._done: dict[tuple[str, str, str], object] = {}

    async def run_once(self, now: int) -> None:
        """Look once, at `now` in UTC microseconds.

        Raises:
            DatabaseUnavailable: there is no reading who is to be looked after.
        """
        for pulse in await pulses(self._pool):
            for duty in self._duties:
                await self._attend(duty, pulse, now)

    async def _attend(self, duty: Duty, pulse: Pulse, now: int) -> None:
        key = (duty.name, pulse.tenant, pulse.agent)
        state = duty.depends_on(pulse, now)
        if self._done.get(key) == state:
            return
        try:
            there = {agent.id for agent in await self._agents.of(pulse.tenant)}
            done = pulse.agent not in there or await duty.look(pulse, now)
        except ServiceError as error:  # one agent's trouble is not the others'
            log.info("cortex.put_off", duty=duty.name, agent=pulse.agent, reason=str(error))
            return
        if done:
            self._done[key] = state
