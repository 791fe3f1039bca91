"""A place where commands and file edits of an agent can do no harm outside of its workspace.

Commands run under bubblewrap: the system read-only, one writable directory, no network unless
allowed, no variable or secret of ours, bounded in processor time, memory, processes, files, output
and wall-clock time. Where bubblewrap cannot start, `probe` says why and nothing runs.

Source: docs/adr on the sandbox.
"""

from services.runtime.sandbox.box import Result, Sandbox, Stop
from services.runtime.sandbox.limits import Limits
from services.runtime.sandbox.probe import Available, Unavailable, probe
from services.runtime.sandbox.walk import OutsideWorkspace
from services.runtime.sandbox.workspace import Entry, Workspace

__all__ = [
    "Available",
    "Entry",
    "Limits",
    "OutsideWorkspace",
    "Result",
    "Sandbox",
    "Stop",
    "Unavailable",
    "Workspace",
    "probe",
]
