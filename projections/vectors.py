"""Vectors: what each memory means, in numbers. Not a projection: no event is needed to make them.

A rebuild of `memories` leaves them as they are. A text is turned into a vector once for each model
(`embeddings`); a memory is found by the vector that stands in `vectors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Final

import msgspec
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

from projections._sql import Conn, load, rows
from schemas.base import MemoryId

SQL = load("vectors.sql")
TABLE: Final = "vectors"
TABLES: Final = (TABLE, "passage_vectors")
INDEX_FROM: Final = 4_000  # vectors; fewer are compared one by one, which misses none
_ARRAY: Final = Struct(">iiIii")  # dimensions, whether there are nulls, type; length, first index


class VectorModel(msgspec.Struct, frozen=True):
    """One row of `vector_models`."""

    model: str
    dimensions: int
    ready: bool
    """Everything had a vector of it once, or no other model was there: searches use it."""
    hnsw: bool
    """There is an index of memories' vectors."""
    passages_hnsw: bool
    """There is one of passages' vectors."""


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that has no vector yet."""

    tenant: str
    memory_id: MemoryId
    seq: int
    text: str

    @property
    def sha256(self) -> bytes:
        """Return the key under which its text's vector is kept."""
        return sha256(self.text.encode()).digest()


def encode(vector: Sequence[float]) -> str:
    """Return a vector as pgvector reads it."""
    return "[" + ",".join(f"{number:.6g}" for number in vector) + "]"


@dataclass(frozen=True, slots=True)
class _Binary:
    """A parameter as PostgreSQL reads it; its type follows from the cast in the statement."""

    data: bytes


class _BinaryDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Binary) -> bytes:
        return obj.data


def _array(vectors: Sequence[Sequence[float]], halfvec: int) -> _Binary:
    """Return vectors as an array of `halfvec`, whose oid differs between databases.

    As text they would take a third of a millisecond each, here and in the server.
    """
    parts = [_ARRAY.pack(1, 0, halfvec, len(vectors), 1)]
    for vector in vectors:
        length = len(vector)
        parts.append(Struct(f">iHH{length}e").pack(4 + 2 * length, length, 0, *vector))
    return _Binary(b"".join(parts))


async def model(conn: Conn, name: str) -> VectorModel | None:
    """Return what is known of a model, or None."""
    found = await rows(conn, VectorModel, SQL["model"], {"model": name})
    return found[0] if found else None


async def add_model(conn: Conn, name: str, dimensions: int) -> VectorModel:
    """Make a model known, unless it is; return what is known of it."""
    await conn.execute(SQL["add_model"], {"model": name, "dimensions": dimensions})
    found = await model(conn, name)
    if found is None:  # only a hand that deletes rows can do that
        raise LookupError(name)
    return found


async def missing(conn: Conn, name: str, *, after: int, limit: int) -> list[Missing]:
    """Return valid memories with a `seq` above `after` that have no vector, oldest first."""
    parameters = {"model": name, "after": after, "limit": limit}
    return await rows(conn, Missing, SQL["missing"], parameters)


async def cached(conn: Conn, name: str, hashes: Sequence[bytes]) -> dict[bytes, int]:
    """Return those of the hashes whose texts have a vector, and how long it is."""
    cursor = await conn.execute(SQL["cached"], {"model": name, "hashes": list(hashes)})
    return {bytes(key): dimensions for key, dimensions in await cursor.fetchall()}


async def cache(conn: Conn, name: str, vectors: Mapping[bytes, Sequence[float]]) -> None:
    """Keep the vectors of texts, by their hashes."""
    if not vectors:
        return
    conn.adapters.register_dumper(_Binary, _BinaryDumper)
    (halfvec,) = await (await conn.execute(SQL["halfvec"])).fetchone() or (0,)
    parameters = {
        "model": name,
        "hashes": list(vectors),
        "vectors": _array(list(vectors.values()), halfvec),
    }
    await conn.execute(SQL["cache"], parameters)


async def add(conn: Conn, name: str, memories: Sequence[Missing]) -> None:
    """Let memories, whose texts' vectors are kept, be found by them."""
    parameters = {
        "model": name,
        "tenants": [memory.tenant for memory in memories],
        "ids": [memory.memory_id for memory in memories],
        "hashes": [memory.sha256 for memory in memories],
    }
    await conn.execute(SQL["add"], parameters)


async def remove(conn: Conn, tenant: str, memory_ids: Sequence[str]) -> None:
    """Take memories that are no longer valid out of the search."""
    await conn.execute(SQL["remove"], {"tenant": tenant, "ids": list(memory_ids)})


async def sweep(conn: Conn) -> None:
    """Take out every memory that is no longer valid."""
    await conn.execute(SQL["sweep"])


async def switch(conn: Conn, name: str) -> None:
    """Let searches use this model from now on, and no other."""
    await conn.execute(SQL["set_ready"], {"model": name})
    await conn.execute(SQL["retire"], {"model": name})
    cursor = await conn.execute(SQL["retire_models"], {"model": name})
    for (retired,) in await cursor.fetchall():
        for table in TABLES:
            dropping = sql.SQL("DROP INDEX IF EXISTS {}").format(_index(retired, table))
            await conn.execute(dropping)


async def is_any_ready(conn: Conn) -> bool:
    """Tell whether searches use any model."""
    return await (await conn.execute(SQL["is_any_ready"])).fetchone() == (True,)


async def needs_index(conn: Conn, found: VectorModel) -> bool:
    """Tell whether there are so many vectors that a search should not look at all of them."""
    return not found.hnsw and await are_many(conn, found.model, TABLE)


async def index(conn: Conn, found: VectorModel) -> None:
    """Make the index, in the caller's transaction."""
    await make_index(conn, found, TABLE)
    await conn.execute("UPDATE vector_models SET hnsw = true WHERE model = %s", (found.model,))


async def are_many(conn: Conn, name: str, table: str) -> bool:
    """Tell whether an index is worth its while."""
    few = sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE model = %s LIMIT %s) AS few")
    cursor = await conn.execute(few.format(sql.Identifier(table)), (name, INDEX_FROM))
    return await cursor.fetchone() == (INDEX_FROM,)


async def make_index(conn: Conn, found: VectorModel, table: str) -> None:
    """Index a model's vectors in one of the tables, unless they are."""
    await conn.execute("SELECT set_config('maintenance_work_mem', '192MB', true)")
    await conn.execute(
        sql.SQL(
            "CREATE INDEX IF NOT EXISTS {index} ON {table} "
            "USING hnsw ((vector::halfvec({dimensions})) halfvec_ip_ops) WHERE model = {model}"
        ).format(
            index=_index(found.model, table),
            table=sql.Identifier(table),
            dimensions=sql.Literal(found.dimensions),
            model=sql.Literal(found.model),
        )
    )


def _index(name: str, table: str) -> sql.Identifier:
    return sql.Identifier(f"{table}_{sha256(name.encode()).hexdigest()[:16]}")
