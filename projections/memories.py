"""Memories: what each agent remembers, found by words, importance or age.

Grain:    one row per memory, forgotten ones included
Source:   memory_saved, memory_forgotten
Read by:  recall tools, memory pages, penstock memory
Rebuild:  any time
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Statement, storable
from schemas.base import Content, EventId, MemoryId, RunId
from schemas.memory import MemoryForgotten, MemoryKind, MemorySaved, Scope

NAME = "memories"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("memories.sql")
TABLES = ("memories",)

NEWEST: Final = 2**63 - 1  # behind every sequence

MEMORIES = Merge(
    "memories",
    key=("tenant", "agent", "memory_id"),
    first=("seq", "saved_at", "source"),
    last=(
        *("kind", "text", "importance", "scope", "person", "conversation", "run_id"),
        *("forgotten_at", "forgotten_why"),
    ),
)
TARGETS = (MEMORIES,)

Mode = Literal["relevant", "recent", "important"]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `memories`; times in UTC microseconds."""

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


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the memory's row."""
    event, at = recorded.event, recorded.envelope.at
    if not isinstance(event, MemorySaved | MemoryForgotten):
        return
    where = place(recorded.subject)
    key = {"tenant": where.tenant, "agent": where.agent or "", "memory_id": event.memory_id}
    match event:
        case MemorySaved():
            saved = {
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
            }
            yield Statement(MEMORIES, {**key, **saved})
        case MemoryForgotten():
            yield Statement(
                MEMORIES, {**key, "forgotten_at": at, "forgotten_why": event.reason or None}
            )


async def recall(  # noqa: PLR0913 - what to find, how, and for whom
    conn: Conn,
    tenant: str,
    agent: str,
    query: str = "",
    *,
    kind: MemoryKind | None = None,
    mode: Mode = "relevant",
    person: str | None = None,
    conversation: str | None = None,
    everyone: bool = False,
    limit: int = 10,
) -> list[Memory]:
    """Return what the agent remembers, best first; forgotten memories never.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        tenant: Whose memories.
        agent: The agent that asks; it also sees what others saved for the whole tenant.
        query: Words or a question. Any of its words is enough, rare ones count more; a query of
            stop words alone falls back to importance.
        kind: One kind only, or None for all.
        mode: By the words of the query, by age or by importance.
        person: Who is spoken with: memories of that person's scope are included.
        conversation: Where, `adapter/conversation`: memories of its scope are included.
        everyone: True to see every scope, for whoever runs the installation.
        limit: Most memories to return.
    """
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "query": storable(query),
        "kind": kind,
        "person": person,
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


async def listing(  # noqa: PLR0913 - what to list, and which page of it
    conn: Conn,
    tenant: str,
    agent: str,
    *,
    kind: MemoryKind | None = None,
    forgotten: bool = False,
    before: int = NEWEST,
    limit: int = 50,
) -> list[Memory]:
    """Return the agent's memories whose `seq` is below `before`, newest first."""
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "kind": kind,
        "forgotten": forgotten,
        "before": before,
        "limit": limit,
    }
    return await rows(conn, Memory, SQL["listing"], parameters)


async def by_id(conn: Conn, tenant: str, agent: str, memory_id: str) -> Memory | None:
    """Return the memory, forgotten or not, or None."""
    parameters: dict[str, object] = {"tenant": tenant, "agent": agent, "memory_id": memory_id}
    found = await rows(conn, Memory, SQL["by_id"], parameters)
    return found[0] if found else None
