"""How much memory a process and all its descendants hold, read from /proc."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from resource import getpagesize
from typing import Final

_PROC: Final = Path("/proc")


def exceeds(pid: int, limit_bytes: int) -> bool:
    """Say whether `pid` and its descendants hold more than `limit_bytes` of memory together.

    Pages that several of them share count once. A process that ends meanwhile counts nothing.
    """
    family = list(_family(pid))
    # The quick sum counts shared pages several times, so it can only acquit.
    if sum(map(_resident, family)) <= limit_bytes:
        return False
    return sum(map(_proportional, family)) > limit_bytes


def _family(pid: int) -> Iterator[int]:
    """Yield `pid` and every descendant of it."""
    found = [pid]
    while found:
        yield (member := found.pop())
        with suppress(OSError):
            for thread in (_PROC / str(member) / "task").iterdir():
                found += map(int, (thread / "children").read_text().split())


def _resident(pid: int) -> int:
    """Return the resident memory of one process, shared pages included, in bytes."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * getpagesize()
    except OSError:
        return 0


def _proportional(pid: int) -> int:
    """Return the resident memory of one process, its share of shared pages only, in bytes."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
