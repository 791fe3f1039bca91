"""Read models in tests: a migrated database, a log that tells a story, tables as sorted rows."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from psycopg import sql

from projections.registry import MIGRATIONS, PROJECTIONS
from schemas.subjects import matches
from services.projector.applying import Member, take_in
from services.runtime import database
from services.runtime.database import Pool, using
from services.runtime.event_log import Recorded
from tests.support.fake_log import FakeLog

TABLES = tuple(table for projection in PROJECTIONS for table in projection.tables)


@pytest.fixture
async def pool(database_url):
    """A pool on a migrated database of its own."""
    pool = await database.connect(database_url)
    await database.migrate(pool, MIGRATIONS)
    yield pool
    await pool.close()


class StoredLog(FakeLog):
    """A fake log that begins with given events, holes and damage included."""

    def __init__(self, events: list[Recorded] | None = None) -> None:
        super().__init__()
        self.events = list(events or [])

    async def read(
        self, pattern: str, *, after: int = 0, until: int | None = None, fresh: bool = False
    ) -> AsyncIterator[Recorded]:
        for recorded in self.events:
            wanted = after < recorded.seq and (until is None or recorded.seq <= until)
            if wanted and matches(pattern, recorded.subject):
                yield recorded

    async def last(self, pattern: str, *, fresh: bool = False) -> Recorded | None:
        found = [recorded async for recorded in self.read(pattern)]
        return found[-1] if found else None

    async def tail(self, pattern: str, *, after: int = 0) -> AsyncIterator[Recorded]:
        while True:
            async for recorded in self.read(pattern, after=after):
                after = recorded.seq
                yield recorded
            async with self._grown:
                if not self.events or self.events[-1].seq <= after:
                    await self._grown.wait()

    async def add(self, *events: Recorded) -> None:
        """Store more."""
        self.events += events
        async with self._grown:
            self._grown.notify_all()


async def project(pool: Pool, events: list[Recorded], *, cuts: tuple[int, ...] = ()) -> None:
    """Take events into every projection, in batches that end at `cuts` and at the end."""
    async with pool.connection() as conn:
        for projection in PROJECTIONS:
            for start, end in pairwise(sorted({0, *cuts, len(events)})):
                if end > start:
                    member = Member(projection, events[start - 1].seq if start else 0)
                    await take_in(conn, member, events[start:end])


async def dump(pool: Pool) -> dict[str, list[str]]:
    """Return every row of every read model, sorted, as text."""
    async with using(pool) as conn:
        tables = {}
        for table in TABLES:
            query = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(sql.Identifier(table))
            cursor = await conn.execute(query)
            tables[table] = [row[0] for row in await cursor.fetchall()]
        return tables
