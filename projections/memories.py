"""Memories: what each agent remembers, found by words, importance or age.

Grain:    `memories`: one row per memory, replaced and forgotten ones included; `memory_edges`: one
          per link; `memory_uses`: one per event that said a memory again or showed it;
          `memory_totals`: one per memory that was used
Source:   memory_saved, memory_touched, memory_linked, memory_forgotten, tool_returned
Read by:  recall tools, memory pages, penstock memory, cortex
Rebuild:  any time
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Insert, Merge, Row, Statement, storable
from schemas.base import Content, EventId, MemoryId, RunId
from schemas.memory import (
    MemoryEvent,
    MemoryForgotten,
    MemoryKind,
    MemoryLinked,
    MemorySaved,
    MemoryTouched,
    Relation,
    Scope,
)
from schemas.run import ToolReturned

NAME = "memories"  # key of our position in projection_positions: never rename
VERSION = 2
SQL = load("memories.sql")
TABLES = ("memories", "memory_edges", "memory_uses", "memory_totals")

NEWEST: Final = 2**63 - 1  # behind every sequence

MEMORIES = Merge(
    "memories",
    key=("tenant", "memory_id"),
    first=(
        *("agent", "seq", "saved_at", "valid_from", "source"),
        *("valid_to", "replaced_by", "replaced_why"),
    ),
    last=(
        *("kind", "text", "importance", "scope", "person", "conversation", "run_id"),
        *("forgotten_at", "forgotten_why"),
    ),
)
EDGES = Merge(
    "memory_edges",
    key=("tenant", "memory_id", "to_id", "relation"),
    first=("seq",),
    last=("weight", "linked_at"),
)
USES = Insert(SQL["add_uses"], key=("tenant", "event_id"))
TARGETS = (MEMORIES, EDGES, USES)

Mode = Literal["relevant", "recent", "important"]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `memories`, with how it was used; times in UTC microseconds."""

    agent: str
    memory_id: MemoryId
    seq: int
    saved_at: int
    kind: MemoryKind
    text: Content
    importance: float
    scope: Scope
    person: str | None
    conversation: str | None
    source: EventId | None
    run_id: RunId | None
    forgotten_at: int | None
    forgotten_why: str | None
    valid_from: int
    valid_to: int | None
    """None: still valid, unless it is forgotten."""
    replaced_by: MemoryId | None
    replaced_why: Literal["duplicate", "contradiction", "correction"] | None
    touches: int
    """How often it was said again."""
    touched_at: int | None
    recalls: int
    """How often a tool has shown it to a model."""
    recalled_at: int | None


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `memory_edges`."""

    memory_id: MemoryId
    to_id: MemoryId
    relation: Relation
    weight: float
    seq: int
    """Of the first event that linked the two."""
    linked_at: int
    """When they were last linked, UTC microseconds."""


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the rows of the memories that the event is about."""
    event = recorded.event
    if isinstance(event, ToolReturned):
        if event.recalled:
            yield _use(recorded, "recalled", event.recalled, run_id=event.run_id)
    elif isinstance(event, MemoryEvent):
        yield from _of_memory(event, recorded)


def _of_memory(event: MemoryEvent, recorded: Recorded) -> Iterator[Statement]:
    where, at = place(recorded.subject), recorded.envelope.at
    key = {"tenant": where.tenant, "memory_id": event.memory_id}
    match event:
        case MemorySaved():
            saved = {
                "agent": where.agent or "",
                "seq": recorded.seq,
                "saved_at": at,
                "kind": event.kind,
                "text": event.text,
                "importance": event.importance,
                "scope": event.scope,
                "person": event.person,
                "conversation": event.conversation,
                "source": event.source,
                "run_id": event.run_id,
                "valid_from": at if event.valid_from is None else event.valid_from,
            }
            yield Statement(MEMORIES, {**key, **saved})
            for replaced in event.replaces:
                ended = {
                    "memory_id": replaced.memory_id,
                    "valid_to": saved["valid_from"],
                    "replaced_by": event.memory_id,
                    "replaced_why": replaced.why,
                }
                yield Statement(MEMORIES, {**key, **ended})
        case MemoryTouched():
            yield _use(
                recorded,
                "touched",
                (event.memory_id,),
                run_id=event.run_id,
                person=event.person,
                conversation=event.conversation,
            )
        case MemoryLinked():
            edge = {
                "to_id": event.to,
                "relation": event.relation,
                "weight": event.weight,
                "seq": recorded.seq,
                "linked_at": at,
            }
            yield Statement(EDGES, {**key, **edge})
        case MemoryForgotten():
            yield Statement(
                MEMORIES, {**key, "forgotten_at": at, "forgotten_why": event.reason or None}
            )


def _use(
    recorded: Recorded, kind: str, memory_ids: tuple[MemoryId, ...], **fields: str | None
) -> Statement:
    row: Row = {
        "tenant": place(recorded.subject).tenant,
        "event_id": recorded.envelope.id,
        "seq": recorded.seq,
        "at": recorded.envelope.at,
        "kind": kind,
        "memory_ids": memory_ids,
        **fields,
    }
    return Statement(USES, row)


async def recall(  # noqa: PLR0913 - what to find, how, and for whom
    conn: Conn,
    tenant: str,
    agent: str,
    query: str = "",
    *,
    kind: MemoryKind | None = None,
    scope: Scope | None = None,
    mode: Mode = "relevant",
    person: str | Sequence[str] | None = None,
    conversation: str | None = None,
    everyone: bool = False,
    limit: int = 10,
) -> list[Memory]:
    """Return what the agent remembers, best first; replaced and forgotten memories never.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        tenant: Whose memories.
        agent: The agent that asks; it also sees what others saved for the whole tenant.
        query: Words or a question. Any of its words is enough, rare ones count more; a query of
            stop words alone falls back to importance.
        kind: One kind only, or None for all.
        scope: One scope only, or None for all that may be seen.
        mode: By the words of the query, by age or by importance.
        person: Who is spoken with, by one id or by several: memories of that person's scope are
            included.
        conversation: Where, `adapter/conversation`: memories of its scope are included.
        everyone: True to see every scope, for whoever runs the installation.
        limit: Most memories to return.
    """
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "query": storable(query),
        "kind": kind,
        "scope": scope,
        "persons": _persons(person),
        "conversation": conversation,
        "everyone": everyone,
        "limit": limit,
    }
    if mode == "relevant" and not await _has_terms(conn, parameters):
        mode = "important"
    return await rows(conn, Memory, SQL[mode], parameters)


async def _has_terms(conn: Conn, parameters: dict[str, object]) -> bool:
    cursor = await conn.execute(SQL["terms"], parameters)
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


def _persons(person: str | Sequence[str] | None) -> list[str]:
    match person:
        case None:
            return []
        case str():
            return [person]
        case _:
            return list(person)


async def listing(  # noqa: PLR0913 - what to list, and which page of it
    conn: Conn,
    tenant: str,
    agent: str,
    *,
    kind: MemoryKind | None = None,
    person: str | Sequence[str] | None = None,
    replaced: bool = False,
    forgotten: bool = False,
    before: int = NEWEST,
    limit: int = 50,
) -> list[Memory]:
    """Return the agent's memories, of every scope, newest first.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        tenant: Whose memories.
        agent: Only what this agent saved.
        kind: One kind only, or None for all.
        person: Only what came from this person, by one id or by several; None for everyone's.
        replaced: True to include what a newer memory has replaced.
        forgotten: True to include what was forgotten.
        before: Only those whose `seq` is below.
        limit: Most memories to return.
    """
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "kind": kind,
        "persons": None if person is None else _persons(person),
        "replaced": replaced,
        "forgotten": forgotten,
        "before": before,
        "limit": limit,
    }
    return await rows(conn, Memory, SQL["listing"], parameters)


async def by_id(conn: Conn, tenant: str, agent: str, memory_id: str) -> Memory | None:
    """Return the memory, replaced or forgotten ones too, or None."""
    parameters: dict[str, object] = {"tenant": tenant, "agent": agent, "memory_id": memory_id}
    found = await rows(conn, Memory, SQL["by_id"], parameters)
    return found[0] if found else None


async def edges(conn: Conn, tenant: str, memory_ids: Sequence[str]) -> list[Edge]:
    """Return the links from and to any of these memories, firmest first."""
    parameters = {"tenant": tenant, "memory_ids": list(memory_ids)}
    return await rows(conn, Edge, SQL["edges"], parameters)
