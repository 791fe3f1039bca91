"""How far every projection has got, and what it could not take in.

A position moves in the transaction that writes the rows, and only from where it was: two
projectors can never apply an event twice.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from projections._sql import Conn, load, rows
from projections._statement import storable

SQL = load("positions.sql")
LOG: Final = "log"  # the name under which problems of the log itself are kept

ProblemKind = Literal["poison", "suspended", "hole", "mismatch"]


class Moved(Exception):
    """Another process moved a position; nothing of this transaction may stay."""


class Position(msgspec.Struct, frozen=True):
    """How far one projection has got."""

    name: str
    seq: int
    version: int
    """Contract of the rows that are there."""


class Problem(msgspec.Struct, frozen=True):
    """Something that a projection could not take in."""

    name: str
    """The projection, or `LOG`."""
    seq: int
    """The event affected; 0 for none in particular."""
    kind: ProblemKind
    detail: str
    noted_at: int = 0
    """UTC microseconds, by the database's clock."""


async def start(conn: Conn, name: str, version: int) -> None:
    """Begin at the start of the log."""
    await conn.execute(SQL["start"], {"name": name, "version": version})


async def listing(conn: Conn) -> dict[str, Position]:
    """Return every projection's position by name."""
    return {position.name: position for position in await rows(conn, Position, SQL["listing"], {})}


async def hold(conn: Conn, name: str) -> Position:
    """Return a position and keep it where it is until the transaction ends."""
    (position,) = await rows(conn, Position, SQL["hold"], {"name": name})
    return position


async def move(conn: Conn, was: Mapping[str, int], seq: int) -> None:
    """Move these positions from where they were to `seq`, before the rows are written.

    Raises:
        Moved: one of them is elsewhere by now.
    """
    parameters = {"names": list(was), "from": list(was.values()), "seq": seq}
    cursor = await conn.execute(SQL["move"], parameters)
    if cursor.rowcount != len(was):
        raise Moved


async def put(conn: Conn, position: Position) -> None:
    """Set a position that the caller holds."""
    await conn.execute(
        SQL["put"], {"name": position.name, "seq": position.seq, "version": position.version}
    )


async def note(conn: Conn, problem: Problem) -> None:
    """Keep a problem for people to see; the same one again is one."""
    parameters = {
        "name": problem.name,
        "seq": problem.seq,
        "kind": problem.kind,
        "detail": storable(problem.detail[:2_000]),
    }
    await conn.execute(SQL["note"], parameters)


async def problems(conn: Conn, *, limit: int = 1_000) -> list[Problem]:
    """Return the problems by projection and sequence."""
    return await rows(conn, Problem, SQL["problems"], {"limit": limit})


async def clear(conn: Conn, name: str, kind: ProblemKind | None = None) -> None:
    """Forget the problems of a projection, all of them or those of one kind."""
    await conn.execute(SQL["clear"], {"name": name, "kind": kind})


async def rename(conn: Conn, old: str, name: str) -> None:
    """Give the problems of `old` to `name`."""
    await conn.execute(SQL["rename"], {"old": old, "name": name})


async def lags(conn: Conn, end: int) -> dict[str, int]:
    """Return how many events each projection is behind `end`, the log's last sequence."""
    return {name: max(0, end - position.seq) for name, position in (await listing(conn)).items()}
