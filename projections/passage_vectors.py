"""Passages' vectors: what documents say, in numbers. No projection either.

A passage is known by the hash of its text, under which the text's vector is kept: a text that
several documents of an agent have is found by one.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from projections import vectors
from projections._sql import Conn, load, rows
from projections.vectors import VectorModel

SQL = load("passage_vectors.sql", shared={"add_counts": vectors.SQL["add_counts"]})
TABLE: Final = "passage_vectors"


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that has no vector yet."""

    tenant: str
    agent: str
    seq: int
    text: str
    sha256: bytes
    """The key under which its text's vector is kept."""


async def missing(conn: Conn, name: str, *, after: int, limit: int) -> list[Missing]:
    """Return passages with a `seq` of `after` or above that have no vector, oldest first."""
    parameters = {"model": name, "after": after, "limit": limit}
    return await rows(conn, Missing, SQL["missing"], parameters)


async def add(conn: Conn, name: str, passages: Sequence[Missing]) -> None:
    """Let passages, whose texts' vectors are kept, be found by them."""
    parameters = {
        "model": name,
        "tenants": [passage.tenant for passage in passages],
        "agents": [passage.agent for passage in passages],
        "hashes": [passage.sha256 for passage in passages],
    }
    await conn.execute(SQL["add"], parameters)


async def sweep(conn: Conn, tenant: str | None = None, agent: str | None = None) -> None:
    """Take out what is in no document any more: of one agent, or of all."""
    await conn.execute(SQL["sweep"], {"tenant": tenant, "agent": agent})


async def needs_index(conn: Conn, found: VectorModel) -> bool:
    """Tell whether there are so many vectors that a search should not look at all of them."""
    return not found.passages_hnsw and await vectors.are_many(conn, found.model, TABLE)


async def index(conn: Conn, found: VectorModel) -> None:
    """Make the index, in the caller's transaction."""
    await vectors.make_index(conn, found, TABLE)
    await conn.execute(
        "UPDATE vector_models SET passages_hnsw = true WHERE model = %s", (found.model,)
    )
