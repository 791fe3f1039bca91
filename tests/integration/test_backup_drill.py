"""The drill: everything is exported, lost, imported and rebuilt, and is what it was."""

from contextlib import asynccontextmanager

import nats
import pytest

from projections.registry import BY_NAME, PROJECTIONS
from schemas.base import EventId
from schemas.channel import MessageReceived, Person
from schemas.envelope import seal
from schemas.subjects import Subject
from services.projector.exporting import export
from services.projector.importing import import_file
from services.projector.rebuild import rebuild
from services.projector.source import LogSource
from services.projector.transfer import schema_fingerprint
from services.runtime.database import using
from services.runtime.event_log import EVERYTHING, Append
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from tests.support.read_models import dump, project
from tests.support.stories import Story

pytestmark = pytest.mark.integration

GENERAL = Subject("acme", "atlas", "portal", "general", "channel")
ANA = Person(id="portal:ana", name="Ana")
LONG = b"a long text " * 2_000


@asynccontextmanager
async def installation(url):
    connection = await Connection.open(url, name="drill")
    try:
        log, bodies = JetStreamLog(connection), JetStreamBodies(connection)
        await log.create()
        await bodies.create()
        yield log, bodies
    finally:
        await connection.close()


async def fill(log, bodies):
    """Put a story on the log, and a message whose text is in the object store."""
    told = {e.envelope.id: e for e in Story(71).tell(1_200) if e.problem is None}
    appends = [Append(each.subject, each.envelope) for each in told.values()]
    for start in range(0, len(appends), 400):
        await log.append_batch(appends[start : start + 400])
    ref = await bodies.put(LONG)
    message = MessageReceived(message_id="long", author=ANA, text=ref)
    await log.append(str(GENERAL), seal(message, id=EventId("long"), at=7, actor="person:ana"))
    return ref


async def everything(log):
    return [(each.seq, each.subject, each.body) async for each in log.read(EVERYTHING, fresh=True)]


async def wipe(url, pool):
    """Lose every stream, every bucket and every row."""
    client = await nats.connect(url)
    try:
        context = client.jetstream()
        for stream in await context.streams_info():
            await context.delete_stream(stream.config.name)
    finally:
        await client.close()
    tables = ", ".join(table for each in PROJECTIONS for table in each.tables)
    async with using(pool) as conn:
        await conn.execute(f"TRUNCATE {tables}")
        await conn.execute("UPDATE projection_positions SET seq = 0")


async def test_what_was_exported_lost_imported_and_rebuilt_is_what_it_was(
    empty_nats_url, pool, tmp_path
):
    path = tmp_path / "all.zst"
    async with installation(empty_nats_url) as (log, bodies):
        ref = await fill(log, bodies)
        before = await everything(log)
        await project(pool, [each async for each in log.read(EVERYTHING, fresh=True)])
        rows = await dump(pool)
        manifest = await export(log, bodies, EVERYTHING, path)
    assert manifest.events == len(before)
    assert manifest.bodies >= 1
    assert manifest.schema == schema_fingerprint()

    await wipe(empty_nats_url, pool)
    async with installation(empty_nats_url) as (log, bodies):
        assert await everything(log) == []
        assert not any((await dump(pool)).values())
        imported = await import_file(log, bodies, pool, path)
        assert (imported.appended, imported.known) == (len(before), 0)
        assert await everything(log) == before
        assert await bodies.get(ref) == LONG
        for name in BY_NAME:
            await rebuild(pool, name, LogSource(log))
        assert await dump(pool) == rows

        again = await import_file(log, bodies, pool, path)
        assert (again.appended, again.known) == (0, len(before))
        assert await everything(log) == before
