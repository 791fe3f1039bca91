"""Keep loops running: restart what fails, later each time; drain on request; tell how it goes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Literal

import msgspec
import structlog

from services.errors import Fenced
from services.runtime.cancelling import end
from services.runtime.clock import Clock

BACKOFF_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before each restart, then every 30 s
STEADY_S: Final = 60.0  # a loop that ran this long has recovered: its next failure counts as first
GRACE_S: Final = 7.0  # what a drain waits for the steps that are under way, of 10 s in all

log = structlog.get_logger()

Loop = Callable[[], Awaitable[None]]


class LoopStatus(msgspec.Struct, kw_only=True):
    """How one loop is."""

    name: str
    state: Literal["running", "restarting", "stopped"] = "stopped"
    restarts: int = 0
    since: int = 0
    """When it last started, UTC microseconds."""
    error: str | None = None
    """Why it last failed."""


class Supervisor:
    """Runs loops until `stopping` is set, then drains them."""

    def __init__(self, loops: Mapping[str, Loop], stopping: asyncio.Event, clock: Clock) -> None:
        self.status = {name: LoopStatus(name=name) for name in loops}
        self._loops = loops
        self._stopping = stopping
        self._clock = clock

    async def run(self) -> None:
        """Run everything; return when it is drained."""
        tasks = [asyncio.create_task(self._keep(name, loop)) for name, loop in self._loops.items()]
        try:
            await self._stopping.wait()
            _, late = await asyncio.wait(tasks, timeout=GRACE_S)
            if late:
                log.info("drain.handed_back", loops=len(late))
        finally:
            await end(*tasks)

    async def _keep(self, name: str, loop: Loop) -> None:
        """Run one loop; start it again when it fails."""
        status = self.status[name]
        failures = 0
        while not self._stopping.is_set():
            status.state, status.since = "running", self._clock.now()
            started = self._clock.monotonic()
            try:
                await loop()
            except Fenced as error:
                status.error = str(error)
            except Exception as error:  # this is where anything that a loop cannot cure ends
                status.error = f"{type(error).__name__}: {error}"
                log.exception("loop.failed", loop=name)
            else:
                if self._stopping.is_set():
                    break
                status.error = "it returned"
            if self._clock.monotonic() - started > STEADY_S:
                failures = 0
            status.state, status.restarts = "restarting", status.restarts + 1
            await self._pause(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1
        status.state = "stopped"

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
