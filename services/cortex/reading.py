"""What every duty of the cortex reads: the agents there are, what happened around each of them."""

from collections.abc import Sequence
from typing import Final

from projections import activity, positions
from projections.activity import Happening, Place, Pulse, Said
from schemas.memory import MemoryKind
from services.runtime.clock import Clock
from services.runtime.database import Pool, reading, using

PATIENCE_S: Final = 2.0  # how long a read model may take to get as far as the log was
POLL_S: Final = 0.05


async def pulses(pool: Pool) -> list[Pulse]:
    """Return the agents of all tenants, each with the last event that concerns it.

    Raises:
        DatabaseUnavailable: there is no reading it now.
    """
    async with using(pool) as conn:
        return await activity.pulses(conn)


async def caught_up(pool: Pool, clock: Clock, seq: int, *names: str) -> bool:
    """Tell whether these read models have everything up to `seq`, within a short wait.

    Raises:
        DatabaseUnavailable: there is no reading it now.
    """
    deadline = clock.monotonic() + PATIENCE_S
    while True:
        async with using(pool) as conn:
            found = await positions.listing(conn)
        if all(name in found and found[name].seq >= seq for name in names):
            return True
        if clock.monotonic() >= deadline:
            return False
        await clock.sleep(POLL_S)


class Around:
    """What happened around agents, from the read model; see `projections.activity`.

    Every method raises DatabaseUnavailable where there is no reading it now.
    """

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def has(self, seq: int) -> bool:
        """Tell whether it has everything up to a sequence, within a short wait."""
        return await caught_up(self._pool, self._clock, seq, activity.NAME)

    async def first_since(self, tenant: str, agent: str, *, begin: int) -> int | None:
        """Return when something first happened at or after `begin`, or None."""
        async with reading(self._pool, tenant) as conn:
            return await activity.first_since(conn, tenant, agent, begin=begin)

    async def between(
        self, tenant: str, agent: str, *, begin: int, until: int, limit: int = 500
    ) -> list[Happening]:
        """Return what happened at `begin` <= time < `until`, newest first."""
        async with reading(self._pool, tenant) as conn:
            return await activity.between(
                conn, tenant, agent, begin=begin, until=until, limit=limit
            )

    async def said(self, tenant: str, agent: str, *, begin: int, until: int) -> Said:
        """Return how much people said in the open at `begin` <= time < `until`."""
        async with reading(self._pool, tenant) as conn:
            return await activity.said(conn, tenant, agent, begin=begin, until=until)

    async def remembered(
        self, tenant: str, agent: str, *, kinds: Sequence[MemoryKind] | None = None, limit: int
    ) -> list[Happening]:
        """Return what everybody may know, the most important first."""
        async with reading(self._pool, tenant) as conn:
            return await activity.remembered(conn, tenant, agent, kinds=kinds, limit=limit)

    async def gone(self, tenant: str, refs: Sequence[str]) -> set[str]:
        """Return those of these memories that are forgotten or replaced."""
        if not refs:
            return set()
        async with reading(self._pool, tenant) as conn:
            return await activity.gone(conn, tenant, refs)

    async def places(self, tenant: str, agent: str, *, since: int) -> list[Place]:
        """Return open conversations in which something was said since then."""
        async with reading(self._pool, tenant) as conn:
            return await activity.places(conn, tenant, agent, since=since)
