"""Is the log still the one that was projected? Asked before it is followed any further."""

from projections import archive, positions
from projections.positions import LOG, Problem
from services.errors import Permanent
from services.runtime.database import Conn
from services.runtime.event_log import EVERYTHING, EventLog


class LogChanged(Permanent):
    """The log ends before its archive does, or has another event where the archive ends."""


async def compare(conn: Conn, event_log: EventLog) -> None:
    """Compare the end of the archive with the log; a difference is kept as a problem.

    Raises:
        LogChanged: going on would mix two histories; `verify` tells more, and can restore.
        LogUnavailable: the log does not answer.
    """
    archived = await archive.newest(conn)
    difference = await _difference(event_log, archived) if archived else None
    if archived is None or difference is None:
        await positions.clear(conn, LOG, "mismatch")
        return
    await positions.note(conn, Problem(LOG, archived.seq, "mismatch", difference))
    raise LogChanged(difference)


async def _difference(event_log: EventLog, archived: archive.Digest) -> str | None:
    last = await event_log.last(EVERYTHING, fresh=True)
    end = last.seq if last else 0
    if end < archived.seq:
        return f"the log ends at {end}, the archive has events up to {archived.seq}"
    reading = event_log.read(EVERYTHING, after=archived.seq - 1, until=archived.seq, fresh=True)
    async for found in reading:
        if found.envelope.id != archived.id and found.problem is None:
            return f"event {archived.seq} is {found.envelope.id}, in the archive {archived.id}"
    return None
