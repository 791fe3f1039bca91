"""Where a rebuild reads from: the log, or the archive when the log is lost."""

from collections.abc import AsyncIterator
from typing import Final, Protocol

from projections import archive
from services.runtime.closing import closing
from services.runtime.database import Pool, using
from services.runtime.event_log import EVERYTHING, EventLog, Recorded
from services.runtime.recording import record

PAGE: Final = 5_000  # events read from the archive at a time


class Source(Protocol):
    """Every event, in order."""

    async def end(self) -> int:
        """Return the last sequence there is, 0 for none."""
        ...

    def read(self, *, after: int, until: int) -> AsyncIterator[Recorded]:
        """Yield the events with `after` < sequence <= `until`, in order."""
        ...


class LogSource:
    """The log itself, or what a pattern selects of it."""

    def __init__(self, event_log: EventLog, pattern: str = EVERYTHING) -> None:
        self._log = event_log
        self._pattern = pattern

    async def end(self) -> int:
        """Return the last sequence there is, 0 for none."""
        last = await self._log.last(self._pattern, fresh=True)
        return last.seq if last else 0

    async def read(self, *, after: int, until: int) -> AsyncIterator[Recorded]:
        """Yield the events with `after` < sequence <= `until`, in order."""
        stop = min(until, await self.end())
        if after >= stop:
            return
        # A tail is a consumer of its own, several times faster than `read` over long distances.
        async with closing(self._log.tail(self._pattern, after=after)) as events:
            async for recorded in events:
                if recorded.seq <= stop:
                    yield recorded
                if recorded.seq >= stop:
                    return


class ArchiveSource:
    """The second copy."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def end(self) -> int:
        """Return the last sequence there is, 0 for none."""
        async with using(self._pool) as conn:
            newest = await archive.newest(conn)
        return newest.seq if newest else 0

    async def read(self, *, after: int, until: int) -> AsyncIterator[Recorded]:
        """Yield the events with `after` < sequence <= `until`, in order."""
        while after < until:
            async with using(self._pool) as conn:
                page = await archive.after(conn, after, until=until, limit=PAGE)
            if not page:
                return
            for stored in page:
                yield record(stored.seq, stored.subject, stored.body)
            after = page[-1].seq
