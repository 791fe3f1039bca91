"""A clock that a test sets; whoever sleeps on it wakes at once, and later."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.builders import SECOND, START


class FakeClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, now: int = START) -> None:
        self.slept: list[float] = []
        """Seconds of every sleep."""
        self.during_sleep: Callable[[], Awaitable[None]] | None = None
        """What happens while somebody sleeps, before the time has passed."""
        self._now = now
        self._start = now

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start) / SECOND

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.during_sleep is not None:
            await self.during_sleep()
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += round(seconds * SECOND)
