"""Memories: what each agent remembers, found by words, importance or age.

Grain:    `memories`: one row per memory, replaced and forgotten ones included; `memory_edges`: one
          per link; `memory_uses`: one per event that said a memory again or showed it;
          `memory_totals`: one per memory that was used; `memory_terms`: one per word
Source:   memory_saved, memory_touched, memory_linked, memory_forgotten, tool_returned
Read by:  recall tools, memory pages, penstock memory, cortex
Rebuild:  any time
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypedDict, Unpack

import msgspec

from projections import _question as question
from projections._recorded import Recorded, place
from projections._sql import FUSION, Conn, load, rows
from projections._statement import Insert, Merge, Row, Statement, storable
from projections.vectors import encode
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
from schemas.subjects import FORK

NAME = "memories"  # key of our position in projection_positions: never rename
VERSION = 2
SQL = load("memories.sql")
SEARCH = load("memory_search.sql", shared=FUSION)["create"]
TABLES = ("memories", "memory_edges", "memory_uses", "memory_totals", "memory_terms")

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
TERMS = Insert(SQL["add_terms"], key=("tenant", "memory_id"))
TARGETS = (TERMS, MEMORIES, EDGES, USES)  # terms are counted of memories that are new

Mode = Literal["hybrid", "recent", "important", "typed"]
"""By words, meaning and links; newest first; most important first; of one kind, as it counts."""
Signals = Literal["hybrid", "text", "vector"]
Fusion = Literal["score", "rrf"]


class Meaning(NamedTuple):
    """What a query means."""

    model: str
    vector: Sequence[float]


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


class Hit(Memory, frozen=True, kw_only=True):
    """A memory that was found, and why; ranks from 1, None where that did not find it."""

    score: float = 0.0
    text_rank: int | None = None
    text_score: float | None = None
    """BM25 of the query's words."""
    vector_rank: int | None = None
    vector_score: float | None = None
    """Cosine similarity, from -1 to 1."""
    linked_to: MemoryId | None = None
    """The hit that it is linked to, or was said beside."""
    link_score: float | None = None


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


class Filters(TypedDict, total=False):
    """Which memories to list; what is left out does not matter."""

    kind: MemoryKind | None
    scope: Scope | None
    person: str | Sequence[str] | None
    """Only what came from this person, by one id or by several."""
    since: int | None
    """Saved at or after, UTC microseconds."""
    until: int | None
    """Saved before."""
    text: str | None
    """Only those with all of these words, inflection aside; as in a web search."""
    id_prefix: str | None
    """Only those whose id begins like this."""
    replaced: bool
    """True to include what a newer memory has replaced."""
    forgotten: bool
    """True to include what was forgotten."""


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the rows of the memories that the event is about."""
    event = recorded.event
    if isinstance(event, ToolReturned):
        if event.recalled and place(recorded.subject).adapter != FORK:
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
            yield Statement(TERMS, {**key, "text": event.text, "person": event.person})
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
    meaning: Meaning | None = None,
    mode: Mode = "hybrid",
    kind: MemoryKind | None = None,
    scope: Scope | None = None,
    since: int | None = None,
    until: int | None = None,
    person: str | Sequence[str] | None = None,
    conversation: str | None = None,
    everyone: bool = False,
    now: int | None = None,
    signals: Signals = "hybrid",
    fusion: Fusion = "score",
    limit: int = 10,
) -> list[Hit]:
    """Return what the agent remembers, best first; replaced and forgotten memories never.

    Args:
        conn: A connection that reads one tenant, as `services.runtime.database.reading` lends it.
        tenant: Whose memories.
        agent: The agent that asks; it also sees what others saved for the whole tenant.
        query: Words or a question. Any of its words is enough, rare ones count more; what stands
            in quotation marks counts twice. With nothing to search by, importance decides.
        meaning: The query as a vector; None to search by words and links alone.
        mode: How to order.
        kind: One kind only, or None for all; `typed` needs it.
        scope: One scope only, or None for all that may be seen.
        since: Saved at or after, UTC microseconds.
        until: Saved before.
        person: Who is spoken with, by one id or by several: memories of that person's scope are
            included.
        conversation: Where, `adapter/conversation`: memories of its scope are included.
        everyone: True to see every scope, for whoever runs the installation.
        now: When it is, UTC microseconds, for decay and for times that the query speaks of; None:
            the database's clock, and no such times.
        signals: All of them, or one alone, to compare them.
        fusion: Of normalised scores, or of ranks (Reciprocal Rank Fusion, k = 60).
        limit: Most memories to return.
    """
    words = str(storable(query))
    near = question.spoken_of(words, now) if now is not None else None
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "query": words,
        "phrases": question.phrases(words),
        "vector": None if meaning is None else encode(meaning.vector),
        "model": None if meaning is None else meaning.model,
        "kind": kind,
        "scope": scope,
        "since": since,
        "until": until,
        "near_from": near and near[0],
        "near_to": near and near[1],
        "persons": _persons(person),
        "conversation": conversation,
        "everyone": everyone,
        "now": now,
        "signals": signals,
        "fusion": fusion,
        "limit": limit,
    }
    return await rows(conn, Hit, SQL[mode], parameters)


def _persons(person: str | Sequence[str] | None) -> list[str]:
    match person:
        case None:
            return []
        case str():
            return [person]
        case _:
            return list(person)


async def listing(
    conn: Conn,
    tenant: str,
    agent: str,
    *,
    before: int = NEWEST,
    limit: int = 50,
    **wanted: Unpack[Filters],
) -> list[Memory]:
    """Return the agent's memories, of every scope, newest first.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        tenant: Whose memories.
        agent: Only what this agent saved.
        before: Only those whose `seq` is below.
        limit: Most memories to return.
        wanted: Which of them.
    """
    person, text = wanted.get("person"), wanted.get("text")
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "kind": wanted.get("kind"),
        "scope": wanted.get("scope"),
        "persons": None if person is None else _persons(person),
        "since": wanted.get("since"),
        "until": wanted.get("until"),
        "text": storable(text),
        "id_prefix": storable(wanted.get("id_prefix")),
        "replaced": wanted.get("replaced", False),
        "forgotten": wanted.get("forgotten", False),
        "before": before,
        "limit": limit,
    }
    return await rows(conn, Memory, SQL["listing"], parameters)


async def history(
    conn: Conn, tenant: str, agent: str, memory_id: str, *, limit: int = 100
) -> list[Memory]:
    """Return what a memory replaced and what replaced it, over any number of steps, oldest first.

    What was forgotten is not among them.
    """
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "memory_id": memory_id,
        "limit": limit,
    }
    return await rows(conn, Memory, SQL["history"], parameters)


async def gone(  # noqa: PLR0913 - of whom, and since when
    conn: Conn,
    tenant: str,
    agent: str,
    *,
    scope: Scope,
    persons: Sequence[str],
    conversation: str | None,
    since: int,
    limit: int = 200,
) -> list[Memory]:
    """Return what was forgotten or replaced, the last first.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        tenant: Whose memories.
        agent: Only what this agent saved.
        scope: One scope.
        persons: All ids of the person, where that is the scope.
        conversation: `adapter/conversation`, where the scope is the channel.
        since: Only what went later; UTC microseconds.
        limit: Most memories to return.
    """
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "scope": scope,
        "persons": list(persons),
        "conversation": conversation,
        "since": since,
        "limit": limit,
    }
    return await rows(conn, Memory, SQL["gone"], parameters)


async def by_id(conn: Conn, tenant: str, agent: str, memory_id: str) -> Memory | None:
    """Return the memory, replaced or forgotten ones too, or None."""
    parameters: dict[str, object] = {"tenant": tenant, "agent": agent, "memory_id": memory_id}
    found = await rows(conn, Memory, SQL["by_id"], parameters)
    return found[0] if found else None


async def edges(conn: Conn, tenant: str, memory_ids: Sequence[str]) -> list[Edge]:
    """Return the links from and to any of these memories, firmest first."""
    parameters = {"tenant": tenant, "memory_ids": list(memory_ids)}
    return await rows(conn, Edge, SQL["edges"], parameters)
