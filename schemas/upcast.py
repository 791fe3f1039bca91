"""Old shapes to today's: one pure function for each retired shape.

An upcaster takes the untyped data of version n and returns that of version n + 1. Tags never
change; a change of meaning is a new version here, or a new event.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
Upcasters: TypeAlias = Mapping[tuple[str, int], Upcaster]

UPCASTERS: Upcasters = {}
"""`(tag, version)` to the function that lifts it to `version + 1`. Every shape is at its first."""


def current_version(tag: str, upcasters: Upcasters = UPCASTERS) -> int:
    """Return the version in which events of `tag` are written today."""
    return 1 + max((version for name, version in upcasters if name == tag), default=0)


def upcast(
    tag: str, version: int, data: dict[str, Any], upcasters: Upcasters = UPCASTERS
) -> dict[str, Any]:
    """Return `data` in today's shape."""
    while (step := upcasters.get((tag, version))) is not None:
        data = step(data)
        version += 1
    return data
