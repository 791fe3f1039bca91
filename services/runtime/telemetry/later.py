"""Work that nobody waits for: kept while somebody is waited for, done a moment later."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

AFTER_S: Final = 0.5
AT_ONCE: Final = 20  # pieces of work between two looks at what else there is to do

log = structlog.get_logger()


class Later:
    """Does small things on the event loop, some at a time."""

    def __init__(self) -> None:
        self._kept: deque[Callable[[], None]] = deque()
        self._timer: asyncio.Handle | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Keep a piece of work."""
        self._kept.append(work)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(AFTER_S, self._some)

    def finish(self) -> None:
        """Do all that is left, now."""
        if self._timer is not None:
            self._timer.cancel()
        while self._kept:
            self._next()

    def _some(self) -> None:
        for _ in range(min(AT_ONCE, len(self._kept))):
            self._next()
        more = bool(self._kept)
        self._timer = asyncio.get_running_loop().call_soon(self._some) if more else None

    def _next(self) -> None:
        try:
            self._kept.popleft()()
        except Exception:
            log.warning("telemetry.not_told", exc_info=True)
