"""Apply a batch to one projection; what poisons it is set aside, and the rest goes in.

A failure that repetition may cure is raised. One that comes from a single event is found by
halving the batch: that event is kept as a problem for people to see, and its neighbours go in. One
that comes from the tables themselves suspends the projection, for it would set aside everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import psycopg
import structlog

from projections import positions
from projections.positions import Moved, Problem
from projections.registry import Projection
from services.errors import Permanent
from services.runtime.database import Conn
from services.runtime.event_log import Recorded

SYSTEMIC: Final = ("0A", "3F", "42", "XX")  # not supported, no such schema or table, damaged
TOO_LARGE: Final = "54"  # one row exceeds a limit of the server
TRANSIENT: Final = ("25",)  # for example a replica that does not take writes

log = structlog.get_logger()


class Suspended(Permanent):
    """The projection's tables do not take its rows, whichever events they come from."""


@dataclass(slots=True)
class Member:
    """A projection and how far its rows have got."""

    projection: Projection
    seq: int

    @property
    def name(self) -> str:
        """Return the name under which positions and problems are kept."""
        return self.projection.name

    async def move(self, conn: Conn, seq: int) -> None:
        """Move the position to `seq`, in the transaction that will write the rows.

        Raises:
            Moved: another process moved it.
        """
        await positions.move(conn, {self.name: self.seq}, seq)


def family(error: Exception) -> Literal["transient", "systemic", "poison"]:
    """Tell whether waiting, a person, or leaving out an event helps against `error`."""
    if isinstance(error, psycopg.Error):
        state = error.sqlstate or ""
        if state.startswith(SYSTEMIC):
            return "systemic"
        connection = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        if (connection and not state.startswith(TOO_LARGE)) or state.startswith(TRANSIENT):
            return "transient"
    return "poison"


async def take_in(conn: Conn, member: Member, events: Sequence[Recorded]) -> int:
    """Write what `events`, in log order and all behind the member, change, and move it.

    Returns:
        How many events were set aside.

    Raises:
        Suspended: the tables do not take rows.
        Moved: another process moved the position.
        psycopg.Error: the database is away, or busy.
    """
    try:
        async with conn.transaction():
            await member.move(conn, events[-1].seq)
            await member.projection.apply(conn, events)
    except Moved:
        raise
    except Exception as error:  # whatever one event does to a projection, the others go on
        match family(error):
            case "transient":
                raise
            case "systemic":
                raise Suspended(str(error)) from error
            case "poison" if len(events) == 1:
                await _set_aside(conn, member, events[0], error)
                return 1
            case "poison":
                middle = len(events) // 2
                first = await take_in(conn, member, events[:middle])
                return first + await take_in(conn, member, events[middle:])
    member.seq = events[-1].seq
    return 0


async def _set_aside(conn: Conn, member: Member, recorded: Recorded, error: Exception) -> None:
    log.error(
        "projection.poisoned",
        projection=member.name,
        seq=recorded.seq,
        type=recorded.envelope.type,
        error=repr(error),
    )
    detail = f"{recorded.envelope.type} {recorded.envelope.id}: {error!r}"
    async with conn.transaction():
        await member.move(conn, recorded.seq)
        await positions.note(conn, Problem(member.name, recorded.seq, "poison", detail))
    member.seq = recorded.seq
