"""Work that nobody waits for: kept while somebody is waited for, done in quiet moments later."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from services.runtime.telemetry.quiet import Quiet

AFTER_S: Final = 0.5
AT_ONCE: Final = 20  # pieces of work between two looks at what else there is to do

log = structlog.get_logger()


class Later:
    """Does small things on the event loop, some at a time."""

    def __init__(self) -> None:
        self._kept: deque[Callable[[], None]] = deque()
        self._working: asyncio.Task[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Keep a piece of work."""
        self._kept.append(work)
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    def finish(self) -> None:
        """Do all that is left, now."""
        if self._working is not None:
            self._working.cancel()
        while self._kept:
            self._next()

    async def _work(self) -> None:
        await asyncio.sleep(AFTER_S)
        quiet = Quiet()
        while self._kept:
            await quiet.moment()
            for _ in range(min(AT_ONCE, len(self._kept))):
                self._next()
        self._working = None

    def _next(self) -> None:
        try:
            self._kept.popleft()()
        except Exception:
            log.warning("telemetry.not_told", exc_info=True)
