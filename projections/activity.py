"""Activity: what happened around each agent that everybody may know, and what the cortex has to do.

Grain:    `activity`: one row per message in an open conversation (without its words), per worker,
          file and failure, and per memory that the whole agent or tenant may see
          `places`: one row per conversation, with what was last said in the open
          `pulses`: one row per agent: the last event that its working memory may depend on
          `unlinked`: one row per memory of any scope: whether it was compared with the others
Source:   the channel streams but those of forks, memories, and what the cortex wrote
Read by:  services.cortex
Rebuild:  any time

A conversation is open while its messages say that it is a group and not private. What happened in
it before its last message that was not in the open is never returned.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Row, Statement
from schemas.base import Content, MemoryId
from schemas.channel import (
    FileSent,
    MessageReceived,
    TurnFailed,
    WorkerConcluded,
    WorkerRequested,
)
from schemas.cortex import (
    DaySummarised,
    KnowledgeSynthesised,
    MemoriesAssociated,
    SynthesisFailed,
)
from schemas.memory import MemoryForgotten, MemoryKind, MemorySaved
from schemas.subjects import FORK

NAME = "activity"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("activity.sql")
TABLES = ("activity", "places", "pulses", "unlinked")

LONGEST: Final = 400  # characters of a text that are kept: more than a line of working memory shows

ACTIVITY = Merge(
    "activity",
    key=("tenant", "agent", "ref"),
    first=("seq", "adapter", "conversation", "text", "who"),
    last=("kind", "at", "outcome", "memory_kind", "importance", "scope", "gone_at"),
)
PLACES = Merge(
    "places",
    key=("tenant", "agent", "adapter", "conversation"),
    first=(),
    last=("open_seq", "closed_seq", "said_at", "said_by", "said"),
)
PULSES = Merge("pulses", key=("tenant", "agent"), first=(), last=("seq", "told_seq"))
UNLINKED = Merge(
    "unlinked", key=("tenant", "agent", "memory_id"), first=("seq",), last=("associated_at",)
)
TARGETS = (ACTIVITY, PLACES, PULSES, UNLINKED)

Kind = Literal["message", "worker", "file", "failure", "memory"]


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something that everybody may know; times in UTC microseconds."""

    ref: str
    """Id of the run, the memory or the event."""
    seq: int
    at: int
    kind: Kind
    adapter: str | None
    conversation: str | None
    who: str | None
    """Id of the person whom it came from."""
    text: str | None
    outcome: str | None
    memory_kind: MemoryKind | None
    importance: float | None


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """How much was said in the open in some time."""

    messages: int
    conversations: int


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An open conversation; times in UTC microseconds."""

    adapter: str
    conversation: str
    said_at: int
    said_by: str
    said: str


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """An agent with a working memory."""

    tenant: str
    agent: str
    seq: int
    """Last event that its working memory may depend on."""
    told_seq: int = 0
    """The last of these that came from people or from memory, not from the cortex itself."""


class Unlinked(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that was not yet compared with the others."""

    memory_id: MemoryId
    seq: int


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the rows that the event is about."""
    if recorded.event is not None and place(recorded.subject).adapter == FORK:
        return  # it might have been; nobody need have it in mind
    match recorded.event:
        case MessageReceived() as event:
            yield from _message(event, recorded)
        case WorkerRequested() | WorkerConcluded() | FileSent() | TurnFailed() as event:
            yield from _happening(event, recorded)
        case MemorySaved() | MemoryForgotten() as event:
            yield from _memory(event, recorded)
        case MemoriesAssociated(memory_ids=ids):
            done = {"associated_at": recorded.envelope.at}
            for memory_id in ids:
                yield Statement(UNLINKED, {**_agent(recorded), "memory_id": memory_id, **done})
        case DaySummarised() | KnowledgeSynthesised() | SynthesisFailed():
            yield _pulse(recorded, told=False)
        case _:
            return


def _message(event: MessageReceived, recorded: Recorded) -> Iterator[Statement]:
    where = _where(recorded)
    if not event.group or event.private:
        yield Statement(PLACES, {**where, "closed_seq": recorded.seq})
        return
    at = recorded.envelope.at
    said: Row = {"said_at": at, "said_by": event.author.name, "said": _short(event.text)}
    yield Statement(PLACES, {**where, "open_seq": recorded.seq, **said})
    row: Row = {"ref": recorded.envelope.id, "seq": recorded.seq, "at": at, "kind": "message"}
    yield Statement(ACTIVITY, {**where, **row, "who": event.author.id})
    yield _pulse(recorded)


def _happening(
    event: WorkerRequested | WorkerConcluded | FileSent | TurnFailed, recorded: Recorded
) -> Iterator[Statement]:
    """Yield a row of a conversation; whether that is open is for the query to see."""
    at = recorded.envelope.at
    row: Row = {}
    match event:
        case WorkerRequested():
            row = {"ref": event.run_id, "kind": "worker", "text": _short(event.task)}
        case WorkerConcluded():  # it happened when it was done
            row = {"ref": event.run_id, "kind": "worker", "at": at, "outcome": event.outcome}
        case FileSent():
            row = {"ref": recorded.envelope.id, "kind": "file", "at": at}
            row |= {"text": _short(event.name)}
        case TurnFailed():
            row = {"ref": event.turn_id, "kind": "failure", "at": at, "text": _short(event.reason)}
    yield Statement(ACTIVITY, {**_where(recorded), "seq": recorded.seq, **row})
    yield _pulse(recorded)


def _memory(event: MemorySaved | MemoryForgotten, recorded: Recorded) -> Iterator[Statement]:
    where, at = _agent(recorded), recorded.envelope.at
    gone = [event.memory_id]
    if isinstance(event, MemorySaved):
        gone = [replaced.memory_id for replaced in event.replaces]
        new = {"memory_id": event.memory_id, "seq": recorded.seq}
        yield Statement(UNLINKED, {**where, **new})
        if event.scope in {"agent", "tenant"}:
            row: Row = {
                "ref": event.memory_id,
                "seq": recorded.seq,
                "at": at,
                "kind": "memory",
                "who": event.person,
                "text": _short(event.text),
                "memory_kind": event.kind,
                "importance": event.importance,
                "scope": event.scope,
            }
            yield Statement(ACTIVITY, {**where, **row})
    for memory_id in gone:
        yield Statement(ACTIVITY, {**where, "ref": memory_id, "gone_at": at})
    yield _pulse(recorded)


def _pulse(recorded: Recorded, *, told: bool = True) -> Statement:
    seq = recorded.seq
    return Statement(PULSES, {**_agent(recorded), "seq": seq, "told_seq": seq if told else None})


def _agent(recorded: Recorded) -> Row:
    tenant, agent, *_ = place(recorded.subject)
    return {"tenant": tenant, "agent": agent or ""}


def _where(recorded: Recorded) -> Row:
    _, _, adapter, conversation, *_ = place(recorded.subject)
    return {**_agent(recorded), "adapter": adapter or "", "conversation": conversation or ""}


def _short(content: Content) -> str:
    """Return the beginning of a text, on one line."""
    text = content if isinstance(content, str) else "a long text"
    return " ".join(text.split())[:LONGEST]


async def between(
    conn: Conn, tenant: str, agent: str, *, begin: int, until: int, limit: int = 500
) -> list[Happening]:
    """Return what happened at `begin` <= time < `until`, UTC microseconds, newest first.

    Messages are not among it; see `said`.
    """
    parameters = {**_of(tenant, agent), "begin": begin, "until": until, "limit": limit}
    return await rows(conn, Happening, SQL["between"], parameters)


async def said(conn: Conn, tenant: str, agent: str, *, begin: int, until: int) -> Said:
    """Return how much people said in the open at `begin` <= time < `until`."""
    (found,) = await rows(
        conn, Said, SQL["said"], {**_of(tenant, agent), "begin": begin, "until": until}
    )
    return found


async def first_since(conn: Conn, tenant: str, agent: str, *, begin: int) -> int | None:
    """Return when something first happened at or after `begin`, or None."""
    cursor = await conn.execute(SQL["first_since"], {**_of(tenant, agent), "begin": begin})
    row = await cursor.fetchone()
    return row[0] if row else None


async def remembered(
    conn: Conn,
    tenant: str,
    agent: str,
    *,
    kinds: Sequence[MemoryKind] | None = None,
    limit: int = 50,
) -> list[Happening]:
    """Return valid memories that everybody may know, the most important first, then the oldest."""
    parameters = {
        **_of(tenant, agent),
        "kinds": list(kinds) if kinds is not None else None,
        "limit": limit,
    }
    return await rows(conn, Happening, SQL["remembered"], parameters)


async def gone(conn: Conn, tenant: str, refs: Sequence[str]) -> set[str]:
    """Return those of these memories that are forgotten or replaced."""
    cursor = await conn.execute(SQL["gone"], {"tenant": tenant, "refs": list(refs)})
    return {row[0] for row in await cursor.fetchall()}


async def places(
    conn: Conn, tenant: str, agent: str, *, since: int, limit: int = 10
) -> list[Place]:
    """Return open conversations in which something was said since then, by name."""
    parameters = {**_of(tenant, agent), "since": since, "limit": limit}
    return await rows(conn, Place, SQL["places"], parameters)


async def pulses(conn: Conn) -> list[Pulse]:
    """Return every agent of every tenant: not for a tenant's connection."""
    return await rows(conn, Pulse, SQL["pulses"], {})


async def unlinked(conn: Conn, tenant: str, agent: str, *, limit: int) -> list[Unlinked]:
    """Return memories that were not yet compared with the others, oldest first."""
    return await rows(conn, Unlinked, SQL["unlinked"], {**_of(tenant, agent), "limit": limit})


async def with_unlinked(conn: Conn) -> list[Pulse]:
    """Return the agents that have such memories, of every tenant."""
    return await rows(conn, Pulse, SQL["with_unlinked"], {})


def _of(tenant: str, agent: str) -> dict[str, object]:
    return {"tenant": tenant, "agent": agent}
