"""The only reader of time. Tests hand in their own."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where now comes from, and how to wait."""

    def now(self) -> int:
        """Return UTC microseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Return UTC microseconds since 1970."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`."""
        await asyncio.sleep(seconds)
