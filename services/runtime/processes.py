"""Looking at processes that are not our children: is it alive, what is it, since when.

Linux answers from `/proc`, other systems through `ps`.
"""

import subprocess
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
HAS_PROC: Final = (PROC / "self" / "stat").exists()


def started(pid: int) -> str | None:
    """Return an opaque mark of when `pid` started, None when it is not alive.

    A process id is used again; the pair of id and mark is not.
    """
    if not HAS_PROC:
        return _ps(pid, "lstart")
    try:
        # The name, in parentheses, may contain anything; state and start time come after it.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start_time = fields[0], fields[19]
    return None if state in "ZX" else start_time


def has_argument(pid: int, argument: str) -> bool:
    """Return whether `pid` is alive and was started with `argument` on its command line."""
    if not HAS_PROC:
        return argument in (_ps(pid, "args") or "")
    try:
        line = (PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return argument.encode() in line.split(b"\0")


def _ps(pid: int, column: str) -> str | None:
    command = ["ps", "-ww", "-o", f"{column}=", "-p", str(pid)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
