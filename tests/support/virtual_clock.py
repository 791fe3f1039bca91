"""Time that a test moves, for real loops: it goes on when every timer that woke sleeps again."""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

from tests.support.builders import SECOND, START

LOOP: ContextVar[str] = ContextVar("loop", default="")
"""Which loop a task belongs to; tasks that it starts inherit it."""


@dataclass(frozen=True)
class Sleeper:
    """Somebody who sleeps."""

    loop: str
    due: int
    woken: "asyncio.Future[None]"


class VirtualClock:
    """Passes only by `to`.

    Args:
        now: UTC microseconds at the beginning.
        timers: Loops that do nothing but look now and then: time waits for them.
    """

    def __init__(self, now: int = START, *, timers: set[str] | None = None) -> None:
        self.timers = timers or set()
        self.sleepers: list[Sleeper] = []
        self.slept: dict[str, int] = {}
        """How often each loop went to sleep."""
        self._now = self._start = now
        self._asleep = asyncio.Event()

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start) / SECOND

    async def sleep(self, seconds: float) -> None:
        loop = LOOP.get()
        due = self._now + round(seconds * SECOND)
        sleeper = Sleeper(loop, due, asyncio.get_running_loop().create_future())
        self.sleepers.append(sleeper)
        self.slept[loop] = self.slept.get(loop, 0) + 1
        self._asleep.set()
        try:
            await sleeper.woken
        finally:
            if sleeper in self.sleepers:
                self.sleepers.remove(sleeper)

    async def to(self, at: int) -> None:
        """Let time pass until then, from one waking to the next."""
        while due := [sleeper.due for sleeper in self.sleepers if sleeper.due <= at]:
            self._now = max(self._now, min(due))
            woken = [sleeper for sleeper in self.sleepers if sleeper.due <= self._now]
            self.sleepers = [sleeper for sleeper in self.sleepers if sleeper.due > self._now]
            for sleeper in woken:
                sleeper.woken.set_result(None)
            await self.asleep({sleeper.loop for sleeper in woken} & self.timers)
        self._now = max(self._now, at)

    async def asleep(self, loops: set[str]) -> None:
        """Wait until these loops sleep."""
        async with asyncio.timeout(60):
            while loops - {sleeper.loop for sleeper in self.sleepers}:
                self._asleep.clear()
                await self._asleep.wait()
