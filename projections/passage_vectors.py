"""Passages' vectors: what documents say, in numbers. No projection either.

A passage has a vector for each of its parts (`projections.parts`), and is found by the nearest. It
is known by the hash of its text: a text that several documents of an agent have is found by one.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

import msgspec

from projections import vectors
from projections._sql import Conn, load, rows
from projections.parts import parts
from projections.vectors import VectorModel
from schemas.base import Sha256

SQL = load("passage_vectors.sql", shared={"add_counts": vectors.SQL["add_counts"]})
TABLE: Final = "passage_vectors"


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that has no vectors yet."""

    tenant: str
    agent: str
    seq: int
    text: str
    sha256: Sha256


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a passage that has no vector yet."""

    tenant: str
    agent: str
    passage: Sha256
    number: int
    """From 0, in order."""
    text: str

    @property
    def sha256(self) -> bytes:
        """Return the key under which its text's vector is kept."""
        return sha256(self.text.encode()).digest()


def divided(passages: Sequence[Missing]) -> Iterator[Part]:
    """Yield what is to have a vector of its own."""
    for passage in passages:
        for number, text in enumerate(parts(passage.text)):
            yield Part(
                tenant=passage.tenant,
                agent=passage.agent,
                passage=passage.sha256,
                number=number,
                text=text,
            )


async def missing(conn: Conn, name: str, *, after: int, limit: int) -> list[Missing]:
    """Return passages with a `seq` of `after` or above that have no vectors, oldest first."""
    parameters = {"model": name, "after": after, "limit": limit}
    return await rows(conn, Missing, SQL["missing"], parameters)


async def add(conn: Conn, name: str, some: Sequence[Part]) -> None:
    """Let passages be found by their parts, whose vectors are kept: all parts of each at once."""
    parameters = {
        "model": name,
        "tenants": [part.tenant for part in some],
        "agents": [part.agent for part in some],
        "passages": [part.passage for part in some],
        "numbers": [part.number for part in some],
        "hashes": [part.sha256 for part in some],
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
