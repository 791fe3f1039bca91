"""Compare a live projection, row by row, with one that is built anew up to the same event."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from psycopg import sql

from projections import positions
from services.errors import Rejected
from services.projector.rebuild import CLOSE, Builder, aside
from services.projector.source import Source
from services.runtime.database import Conn, Pool, session

EXAMPLES: Final = 10  # differing rows told of each table and side
_DIFFERENCES: Final = """
SELECT side, to_jsonb(row) AS row, count(*) OVER () AS total
FROM (
    SELECT 'live' AS side, {key}, only_live AS row
    FROM (SELECT {columns} FROM {live} EXCEPT ALL SELECT {columns} FROM {anew}) AS only_live
    UNION ALL
    SELECT 'rebuilt', {key}, only_anew
    FROM (SELECT {columns} FROM {anew} EXCEPT ALL SELECT {columns} FROM {live}) AS only_anew
) AS differences
ORDER BY {key}, side LIMIT %(limit)s
"""
_COLUMNS: Final = """
SELECT a.attname, coalesce(i.indisprimary, false)
FROM pg_attribute AS a
LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""


class OtherVersion(Rejected):
    """The live rows were written under another contract: rebuild the projection first."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One row that is not the same."""

    table: str
    key: dict[str, Any]
    live: dict[str, Any] | None
    """The columns that differ; None where there is no such row."""
    rebuilt: dict[str, Any] | None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found."""

    name: str
    seq: int
    """Both sides have the events up to here."""
    rows: int
    """Rows of the live tables."""
    different: int
    """Rows that are not the same, counted on both sides."""
    examples: list[Difference]


async def check(pool: Pool, name: str, source: Source) -> Checked:
    """Build a projection aside up to the live position, and compare every row.

    The live projector waits while the last few events are taken in, not while rows are compared.

    Raises:
        UnknownProjection, AlreadyBuilding, MayNotBuild, OtherVersion, Suspended,
        DatabaseUnavailable, LogUnavailable: nothing was compared.
    """
    async with aside(pool, name, source) as builder, session(pool) as conn:
        while (await positions.listing(conn))[name].seq - builder.seq > CLOSE:
            await builder.advance((await positions.listing(conn))[name].seq)
        async with _snapshot(conn, builder) as seq:
            compared = [await _compare(builder, table) for table in builder.projection.tables]
    return Checked(
        name=name,
        seq=seq,
        rows=sum(each.rows for each in compared),
        different=sum(each.different for each in compared),
        examples=[example for each in compared for example in each.examples],
    )


@asynccontextmanager
async def _snapshot(conn: Conn, builder: Builder) -> AsyncIterator[int]:
    """Bring the build to exactly the live position, and keep both sides as they are then."""
    name = builder.projection.name
    async with conn.transaction():
        held = await positions.hold(conn, name)
        if held.version != builder.projection.version:
            raise OtherVersion(f"{name} has rows of version {held.version}: rebuild it first")
        await builder.advance(held.seq)
        await builder.conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        await builder.conn.execute(
            "SELECT 1 FROM projection_positions LIMIT 1"
        )  # takes the snapshot
    try:
        yield held.seq
    finally:
        await builder.conn.execute("ROLLBACK")


class _Compared(msgspec.Struct, frozen=True):
    rows: int
    different: int
    examples: list[Difference]


async def _compare(builder: Builder, table: str) -> _Compared:
    conn = builder.conn
    live = sql.Identifier(builder.live, table)
    anew = sql.Identifier(builder.schema, table)
    cursor = await conn.execute(sql.SQL("SELECT count(*) FROM {}").format(live))
    (rows,) = await cursor.fetchone() or (0,)
    cursor = await conn.execute(_COLUMNS, (live.as_string(conn),))
    columns = await cursor.fetchall()
    key = [name for name, in_key in columns if in_key]
    query = sql.SQL(_DIFFERENCES).format(
        columns=sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
        key=sql.SQL(", ").join(map(sql.Identifier, key)),
        live=live,
        anew=anew,
    )
    cursor = await conn.execute(query, {"limit": 2 * EXAMPLES})
    found = await cursor.fetchall()
    different = found[0][2] if found else 0
    return _Compared(rows, different, _pair(table, key, found)[:EXAMPLES])


def _pair(
    table: str, key: list[str], found: list[tuple[str, dict[str, Any], int]]
) -> list[Difference]:
    """Put the two sides of a row together, and keep the columns in which they differ."""
    sides: dict[str, dict[str, dict[str, Any]]] = {}
    for side, row, _ in found:
        sides.setdefault(repr([row[name] for name in key]), {})[side] = row
    differences = []
    for row_of in sides.values():
        live, anew = row_of.get("live"), row_of.get("rebuilt")
        some = live or anew or {}
        if live is not None and anew is not None:
            columns = [name for name in some if live[name] != anew[name]]
        else:
            columns = list(some)
        differences.append(
            Difference(
                table=table,
                key={name: some[name] for name in key},
                live=live and {name: live[name] for name in columns},
                rebuilt=anew and {name: anew[name] for name in columns},
            )
        )
    return differences
