"""Find a moment in which nobody is waited for: what is told of a turn must not slow the turn."""

import asyncio
from time import monotonic, thread_time
from typing import Final

LOOK_S: Final = 0.005  # a turn waits for less than this, but for its models
AT_REST: Final = 0.1  # part of that time for which this thread may have been busy
PATIENCE_S: Final = 0.5  # where there is no such moment, work is done all the same


class Quiet:
    """Waits for quiet moments, in all for at most `PATIENCE_S`."""

    def __init__(self) -> None:
        self._until = monotonic() + PATIENCE_S

    async def moment(self) -> None:
        """Return when this thread has rested, or patience is at its end; others always go first."""
        if monotonic() >= self._until:
            await asyncio.sleep(0)
        while monotonic() < self._until:
            before = thread_time()
            await asyncio.sleep(LOOK_S)
            if thread_time() - before < LOOK_S * AT_REST:
                return
