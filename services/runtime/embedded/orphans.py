"""Servers that an earlier program left behind.

The parent-death signal stops them where there is one, and soon; elsewhere they run on.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Final

from services.runtime import processes

POLL_S: Final = 0.01


def find(pid_file: Path, marker: str) -> int | None:
    """Return the process that `pid_file` names if `marker` is one of its arguments.

    Without the marker it is a stranger that got the number of a dead server.
    """
    try:
        pid = int(pid_file.read_text(encoding="ascii").partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if processes.has_argument(pid, marker) else None


async def stop(pid: int, marker: str, signals: Sequence[tuple[Signals, float]]) -> None:
    """Send `signals` in turn, each with its seconds of patience, until the process is gone.

    Raises:
        PermissionError: it belongs to another user.
    """
    for signal, patience_s in signals:
        with suppress(ProcessLookupError, TimeoutError):
            async with asyncio.timeout(patience_s):
                os.kill(pid, signal)
                while processes.has_argument(pid, marker):  # noqa: ASYNC110 - not our child
                    await asyncio.sleep(POLL_S)
            return
