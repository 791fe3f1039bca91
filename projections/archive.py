"""Archive: every event as it is stored, the second copy of the log.

Grain:    one row per sequence of the log
Source:   every event, those that this version does not know and damaged ones included
Read by:  penstock trace, verify, import; rebuilds when the log itself is lost
Rebuild:  only from a log that has every event which the archive has
"""

from collections.abc import Collection, Iterator

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Insert, Statement
from schemas.base import EventId
from schemas.subjects import InvalidToken, Subject

NAME = "archive"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("archive.sql")
TABLES = ("archive",)

EVENTS = Insert(SQL["add"], key=("seq",))
TARGETS = (EVENTS,)


class Stored(msgspec.Struct, frozen=True):
    """One event, as it is stored."""

    seq: int
    subject: str
    body: bytes


class Digest(msgspec.Struct, frozen=True):
    """One event, in short."""

    seq: int
    subject: str
    id: str
    digest: bytes
    """SHA-256 of its body."""


class Extent(msgspec.Struct, frozen=True):
    """How much there is; `first` and `last` are 0 for nothing."""

    count: int
    first: int
    last: int


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the event's row."""
    envelope = recorded.envelope
    yield Statement(
        EVENTS,
        {
            "seq": recorded.seq,
            "tenant": _tenant(recorded.subject),
            "subject": recorded.subject,
            "id": envelope.id,
            "type": envelope.type,
            "at": envelope.at,
            "turn": envelope.turn,
            "body": recorded.body,
        },
    )


def _tenant(subject: str) -> str | None:
    try:
        return place(subject).tenant
    except InvalidToken:
        return None


async def of_turn(
    conn: Conn, tenant: str, turn: str, *, after: int = 0, limit: int = 10_000
) -> list[Stored]:
    """Return what belongs to a turn: its messages, steps, branches and workers, in log order."""
    parameters = {"tenant": tenant, "turn": turn, "after": after, "limit": limit}
    return await rows(conn, Stored, SQL["of_turn"], parameters)


async def of_conversation(
    conn: Conn, conversation: Subject, *, after: int = 0, limit: int = 10_000
) -> list[Stored]:
    """Return what belongs to a conversation, branches and workers included, in log order.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        conversation: Any stream of the conversation.
        after: Sequence to start behind.
        limit: Most events to return.
    """
    prefix = str(conversation.of("channel")).removesuffix("channel._")
    parameters = {
        "tenant": conversation.tenant,
        "prefix": prefix,
        "end": prefix[:-1] + "/",  # the character behind the dot
        "after": after,
        "limit": limit,
    }
    return await rows(conn, Stored, SQL["of_prefix"], parameters)


async def by_id(conn: Conn, tenant: str, event_id: EventId) -> Stored | None:
    """Return the event, or None."""
    found = await rows(conn, Stored, SQL["by_id"], {"tenant": tenant, "id": event_id})
    return found[0] if found else None


async def known(conn: Conn, ids: Collection[str]) -> set[str]:
    """Return those of the event ids that the archive has."""
    cursor = await conn.execute(SQL["known"], {"ids": list(ids)})
    return {row[0] for row in await cursor.fetchall()}


async def extent(conn: Conn) -> Extent:
    """Return how many events there are, and the first and last sequence."""
    (found,) = await rows(conn, Extent, SQL["extent"], {})
    return found


async def newest(conn: Conn) -> Digest | None:
    """Return the last event there is, in short, or None."""
    found = await rows(conn, Digest, SQL["newest"], {})
    return found[0] if found else None


async def after(conn: Conn, seq: int, *, until: int, limit: int) -> list[Stored]:
    """Return the events behind `seq` and not behind `until`, at most `limit`, in order."""
    parameters = {"after": seq, "until": until, "limit": limit}
    return await rows(conn, Stored, SQL["slice"], parameters)


async def digests(conn: Conn, seq: int, *, until: int) -> list[Digest]:
    """Return the digests of the events behind `seq` and not behind `until`, in order."""
    return await rows(conn, Digest, SQL["digests"], {"after": seq, "until": until})
