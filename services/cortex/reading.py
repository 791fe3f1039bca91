"""What every duty of the cortex reads: the agents there are, and how far read models have got."""

from typing import Final

from projections import activity, positions
from projections.activity import Pulse
from services.runtime.clock import Clock
from services.runtime.database import Pool, using

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
