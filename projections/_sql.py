"""Named statements from the `.sql` file beside a projection, and typed rows from their results."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PART: Final = re.compile(r"(?<![:\w]):([a-z_]+)\b")
_FOLDER: Final = Path(__file__).parent

Conn = AsyncConnection[Any]
R = TypeVar("R", bound=msgspec.Struct)


def load(file: str, *, shared: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the statements of a file by the name in the `-- name:` line above each.

    `:name` in a statement stands for an earlier one of the same file, or for one that is shared.
    """
    _, *parts = _NAME.split((_FOLDER / file).read_text(encoding="utf-8"))
    statements: dict[str, str] = {}
    known = dict(shared or {})
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        statements[name] = known[name] = _PART.sub(lambda found: known[found[1]], text).strip()
    return statements


FUSION: Final = load("fusion.sql")
"""What the searches of memories and of passages have in common."""


async def rows(
    conn: Conn, row: type[R], statement: str, parameters: Mapping[str, object]
) -> list[R]:
    """Run a query and return its rows, in its order."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, parameters)
        return msgspec.convert(await cursor.fetchall(), list[row])  # type: ignore[valid-type]  # a type at run time
