"""Projections that follow the log together: one read of it, one transaction a batch for all."""

from collections.abc import Callable, Sequence

import structlog

from projections import positions
from projections.positions import LOG, Moved, Problem
from services.projector.applying import Member, Suspended, family, take_in
from services.projector.feed import holes
from services.runtime.database import Conn
from services.runtime.event_log import EVERYTHING, EventLog, Recorded

log = structlog.get_logger()


class Pack:
    """The members that are near the end of the log.

    Args:
        conn: Every write goes through it.
        event_log: Where a newcomer finds what it still lacks.
        members: May be none, until the first newcomer.
        seq: How far the log has been followed.
        on_suspended: Takes a member that had to leave.
    """

    def __init__(
        self,
        conn: Conn,
        event_log: EventLog,
        members: list[Member],
        seq: int,
        on_suspended: Callable[[Member], None],
    ) -> None:
        self.seq = seq
        self._conn = conn
        self._log = event_log
        self._members = members
        self._on_suspended = on_suspended

    async def write(self, events: Sequence[Recorded]) -> None:
        """Take in what follows in the log.

        Raises:
            Moved: another process moved a position.
            psycopg.Error: the database is away, or busy.
        """
        await self._note_holes(events)
        behind = [member for member in self._members if member.seq < events[-1].seq]
        try:
            async with self._conn.transaction():
                await self._move(behind, events[-1].seq)
                for member in behind:
                    await member.projection.apply(self._conn, _after(member.seq, events))
        except Moved:
            raise
        except Exception as error:  # the projections must not stop one another
            if family(error) == "transient":
                raise
            for member in behind:
                await self._write_alone(member, _after(member.seq, events))
        else:
            for member in behind:
                member.seq = events[-1].seq
        self.seq = events[-1].seq

    async def adopt(self, member: Member) -> None:
        """Take in a newcomer, after what it lacks of what the others have."""
        missed = self._log.read(EVERYTHING, after=member.seq, until=self.seq, fresh=True)
        events = [recorded async for recorded in missed] if member.seq < self.seq else []
        self._members.append(member)
        if events:
            await self._write_alone(member, events)

    async def _move(self, members: Sequence[Member], seq: int) -> None:
        if members:
            await positions.move(self._conn, {each.name: each.seq for each in members}, seq)

    async def _write_alone(self, member: Member, events: Sequence[Recorded]) -> None:
        try:
            await take_in(self._conn, member, events)
        except Suspended as suspended:
            log.exception("projection.suspended", projection=member.name)
            await positions.note(self._conn, Problem(member.name, 0, "suspended", str(suspended)))
            self._members.remove(member)
            self._on_suspended(member)

    async def _note_holes(self, events: Sequence[Recorded]) -> None:
        """Say aloud what is missing: this log has no legal holes."""
        for hole in holes(self.seq, events):
            detail = f"events {hole[0]} to {hole[-1]} are missing from the log"
            log.error("log.damaged", first=hole[0], last=hole[-1])
            await positions.note(self._conn, Problem(LOG, hole[0], "hole", detail))


def _after(seq: int, events: Sequence[Recorded]) -> Sequence[Recorded]:
    return events if events[0].seq > seq else [each for each in events if each.seq > seq]
