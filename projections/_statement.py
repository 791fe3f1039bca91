"""What an event changes, folded over a batch and written set by set.

A projection yields one `Statement` for each row that an event touches. A batch is folded in memory,
so that every row is written once however many events touched it, and each target takes its rows
in one command. The result does not depend on where batches begin and end.
"""

from collections.abc import Collection, Iterable
from operator import itemgetter
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from projections._sql import Conn

Row: TypeAlias = dict[str, object]
Folded: TypeAlias = dict[object, Row]

_ENCODE = msgspec.json.Encoder().encode
NUL: Final = "\x00"  # PostgreSQL's text cannot hold it
REPLACEMENT: Final = "\ufffd"


class Target(Protocol):
    """Where rows go, and what becomes of several changes to one of them."""

    def fold(self, rows: Folded, row: Row) -> None:
        """Add one change to those of earlier events."""
        ...

    async def write(self, conn: Conn, rows: Collection[Row]) -> None:
        """Write folded changes, in the caller's transaction."""
        ...


class Statement(NamedTuple):
    """One row to change."""

    into: Target
    row: Row
    """Column to value. What is None or missing says nothing and leaves the column as it is."""


class Merge:
    """Rows that grow: a later value of a column replaces the earlier one, except in `first`."""

    def __init__(
        self, table: str, *, key: Collection[str], first: Collection[str], last: Collection[str]
    ) -> None:
        self._key = itemgetter(*key)
        self._first = frozenset(first)
        columns = ", ".join((*key, *first, *last))
        changes = [f"{column} = coalesce(t.{column}, excluded.{column})" for column in first]
        changes += [f"{column} = coalesce(excluded.{column}, t.{column})" for column in last]
        self.sql = (
            f"INSERT INTO {table} AS t ({columns})\n"
            f"SELECT {columns} FROM json_populate_recordset(NULL::{table}, %(rows)s::json)\n"
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(changes)}"
        )

    def fold(self, rows: Folded, row: Row) -> None:
        """Add one change to those of earlier events, by the same rule as the command's."""
        key = self._key(row)
        old = rows.get(key)
        if old is None:
            rows[key] = row
            return
        first = self._first
        for column, value in row.items():
            if value is not None and (column not in first or old.get(column) is None):
                old[column] = value

    async def write(self, conn: Conn, rows: Collection[Row]) -> None:
        """Insert new rows and merge the others."""
        await conn.execute(self.sql, {"rows": to_json(rows)})


class Insert:
    """Rows that never change; one that is there already stays as it is.

    Args:
        sql: Takes `%(rows)s`, a JSON list of rows with bytes in base64, and does nothing for the
            ones it knows.
        key: Columns that identify a row.
    """

    def __init__(self, sql: str, *, key: Collection[str]) -> None:
        self._key = itemgetter(*key)
        self.sql = sql

    def fold(self, rows: Folded, row: Row) -> None:
        """Add the row unless the batch has it."""
        rows.setdefault(self._key(row), row)

    async def write(self, conn: Conn, rows: Collection[Row]) -> None:
        """Insert the rows that are new."""
        await conn.execute(self.sql, {"rows": to_json(rows)})


def fold(statements: Iterable[Statement]) -> dict[Target, Folded]:
    """Return what these statements, in order, come to for each target."""
    targets: dict[Target, Folded] = {}
    for into, row in statements:
        into.fold(targets.setdefault(into, {}), row)
    return targets


def to_json(rows: Iterable[Row]) -> str:
    r"""Return rows as a JSON list that PostgreSQL can store: no `\u0000` in any text."""
    encoded = _ENCODE(list(rows))
    if b"\\u0000" in encoded:
        encoded = _ENCODE(storable(msgspec.json.decode(encoded)))
    return encoded.decode()


def storable(value: object) -> object:
    """Return `value` with every NUL in its texts replaced."""
    match value:
        case str():
            return value.replace(NUL, REPLACEMENT) if NUL in value else value
        case list():
            return [storable(item) for item in value]
        case dict():
            return {key: storable(item) for key, item in value.items()}
        case _:
            return value
