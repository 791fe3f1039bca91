"""Import: the events and bodies of an export, each once, however often it is tried."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from projections import archive
from services.errors import Conflict, LogUnavailable, Permanent, Rejected
from services.projector.source import LogSource
from services.projector.transfer import BodyLine, EventLine, Manifest, checked, lines, parse_line
from services.runtime.bodies import BodyStore
from services.runtime.cancelling import end
from services.runtime.database import Conn, Pool, session
from services.runtime.event_log import EVERYTHING, Append, EventLog

BATCH: Final = 1_000  # events appended at once: as many as JetStream takes
BATCH_BYTES: Final = 4 << 20  # of their lines: a batch is to be stored well within a request's time
IMPORT_LOCK: Final = 0x494D5054  # key of the advisory lock: never change

log = structlog.get_logger()


class AlreadyImporting(Rejected):
    """Another process imports at this moment."""


class ArchiveAhead(Rejected):
    """The archive knows events that the log has lost: nothing would be imported of them."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did."""

    manifest: Manifest
    appended: int
    known: int
    """Events that the log had already."""


async def import_file(event_log: EventLog, bodies: BodyStore, pool: Pool, path: Path) -> Imported:
    """Append the events of a file that the log does not have, in the file's order.

    Which events there are is read from the archive, and from the log behind it: the log itself
    remembers ids for minutes only. A try that ends half-way is finished by the next one.

    Raises:
        InvalidFile: nothing was imported.
        AlreadyImporting, ArchiveAhead: nothing was imported.
        LogUnavailable, LogFull, DatabaseUnavailable: what came before is imported.
    """
    manifest = await asyncio.to_thread(checked, path)
    appended = 0
    async with session(pool) as conn:
        cursor = await conn.execute("SELECT pg_try_advisory_lock(%s)", (IMPORT_LOCK,))
        if await cursor.fetchone() != (True,):
            raise AlreadyImporting
        recent = await _behind_the_archive(conn, event_log)
        is_empty = await archive.newest(conn) is None  # then nothing need be asked of it
        appending = asyncio.create_task(_append(event_log, []))
        try:
            async for batch in _batches(path, bodies):
                known = set() if is_empty else await archive.known(conn, _ids(batch))
                new = {line.event.id: line for line in batch if line.event.id not in recent}
                appends = [
                    Append(each.subject, each.event)
                    for id_, each in new.items()
                    if id_ not in known
                ]
                await appending  # the log writes one batch while we read the next
                appending = asyncio.create_task(_append(event_log, appends))
                recent.update(new)
                appended += len(appends)
            await appending
        finally:
            await end(appending)
    log.info("events.imported", appended=appended, known=manifest.events - appended)
    return Imported(manifest=manifest, appended=appended, known=manifest.events - appended)


def _ids(batch: list[EventLine]) -> list[str]:
    return [line.event.id for line in batch]


async def _behind_the_archive(conn: Conn, event_log: EventLog) -> set[str]:
    """Return the ids of the events that are not archived yet.

    Raises:
        ArchiveAhead: the archive is of more than the log, or of another one.
    """
    newest = await archive.newest(conn)
    after = newest.seq if newest else 0
    if newest is not None:
        there = event_log.read(EVERYTHING, after=after - 1, until=after, fresh=True)
        if [recorded.envelope.id async for recorded in there] != [newest.id]:
            raise ArchiveAhead(
                f"the log has not got event {after}, the newest in the archive: restore it with "
                "`penstock verify --repair log` before you import; where a new log is wanted, "
                "take an empty database, too"
            )
    end = await LogSource(event_log).end()
    events = event_log.read(EVERYTHING, after=after, until=end, fresh=True)
    return {recorded.envelope.id async for recorded in events}


async def _batches(path: Path, bodies: BodyStore) -> AsyncIterator[list[EventLine]]:
    """Yield the events in order; the bodies that they refer to are in the store by then."""
    rest = lines(path)
    next(rest)
    while some := await asyncio.to_thread(_some, rest):  # in a thread: the log is at work meanwhile
        for line in some:
            if isinstance(line, BodyLine):
                await bodies.put(line.content(), media_type=line.body.media_type)
        yield [line for line in some if isinstance(line, EventLine)]


def _some(rest: Iterator[bytes]) -> list[EventLine | BodyLine]:
    """Return the next lines, as many as make a batch."""
    some: list[EventLine | BodyLine] = []
    size = 0
    for line in rest:
        some.append(parse_line(line))
        size += len(line)
        if len(some) == BATCH or size >= BATCH_BYTES:
            break
    return some


async def _append(event_log: EventLog, appends: list[Append]) -> None:
    """Append all at once, or one after the other where the log does not take batches."""
    if not appends:
        return
    try:
        await event_log.append_batch(appends)
    except (Conflict, LogUnavailable, Permanent) as error:
        log.warning("import.one_by_one", reason=str(error))
        for append in appends:
            await event_log.append(append.subject, append.envelope)
