"""Clear away what a crash left half started.

Bubblewrap ends with us, but killed within its first millisecond it leaves a child that waits for it
for ever, in which nothing runs.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from services.runtime.sandbox.limits import WORD

_PROC: Final = Path("/proc")


def sweep() -> int:
    """Kill every first process of a sandbox of ours that has lost its bubblewrap; return how many.

    It is safe at any time, also beside other processes of ours: a sandbox that is in use has its
    bubblewrap.
    """
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    return sum(map(_swept, pids))


def _swept(pid: int) -> bool:
    """Kill one process if it is an orphan."""
    try:
        handle = os.pidfd_open(pid)  # before looking, so that what is killed is what was seen
    except OSError:
        return False
    try:
        with suppress(OSError):
            if _is_orphan(pid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
    finally:
        os.close(handle)
    return False


def _is_orphan(pid: int) -> bool:
    """Say whether this is the first process of a sandbox, and its parent is not bubblewrap."""
    words = _words(pid)
    if not any(word.startswith(WORD.encode()) for word in words):
        return False
    status = (_PROC / str(pid) / "status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in status if ":" in line)
    is_first = fields["NSpid"].split()[1:] == ["1"]
    return is_first and _words(int(fields["PPid"]))[:1] != words[:1]


def _words(pid: int) -> list[bytes]:
    return (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0") if pid else []
