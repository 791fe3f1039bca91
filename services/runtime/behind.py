"""Read on from where a fold stands, and notice when what it stands on is not in the log any more.

An administrator may erase a tenant by a purge while every service runs. A fold of what was erased
must begin anew: it would show what nobody may see any more, and whatever is appended on the
strength of it would be refused, for ever.
"""

from collections.abc import AsyncIterator

from schemas.base import EventId
from services.errors import ServiceError
from services.runtime.event_log import EventLog, Recorded


class HistoryGone(ServiceError):
    """The last event of a fold is not in the log."""


async def behind(
    event_log: EventLog,
    subject: str,
    seq: int,
    id: EventId | None = None,  # noqa: A002 - the envelope's word
    *,
    until: int | None = None,
    fresh: bool = False,
) -> AsyncIterator[Recorded]:
    """Yield the events of a subject behind the one that a fold ends with.

    Args:
        event_log: Where they are.
        subject: An exact one.
        seq: Of the last event that is folded; 0 for none.
        id: Of the same event, where it is known.
        until: As for the log.
        fresh: As for the log.

    Raises:
        HistoryGone: that event is not there. Nothing was yielded.
    """
    stands = seq == 0
    async for recorded in event_log.read(subject, after=max(0, seq - 1), until=until, fresh=fresh):
        if recorded.seq == seq and id in {None, recorded.envelope.id}:
            stands = True
            continue
        if not stands:
            await check(event_log, subject, seq, id)
            stands = True
        yield recorded
    if not stands:
        await check(event_log, subject, seq, id)


async def check(
    event_log: EventLog,
    subject: str,
    seq: int,
    id: EventId | None = None,  # noqa: A002 - the envelope's word
) -> None:
    """Make sure that a subject has an event at a sequence; the leader is asked, if need be.

    Raises:
        HistoryGone: it has none.
    """
    async for recorded in event_log.read(subject, after=seq - 1, until=seq, fresh=True):
        if id in {None, recorded.envelope.id}:
            return
    raise HistoryGone(f"event {seq} of {subject} is not in the log any more")
