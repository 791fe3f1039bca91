"""The tool `file_read`: show lines of a text file."""

import asyncio
from typing import Annotated, Final

from msgspec import Meta, Struct

from services.runtime.text import clean, cut
from services.runtime.tool import Tool, ToolOutput
from services.worker.tools.scope import WorkerScope

FILE_BYTES: Final = 16 << 20  # largest file that is read or edited whole; it is held in memory
_NOTE_BYTES: Final = 200  # room for the note after the last line


class FileReadArguments(Struct, frozen=True, kw_only=True):
    """Arguments of `file_read`."""

    path: Annotated[str, Meta(min_length=1, description="File, relative to /workspace.")]
    offset: Annotated[int, Meta(ge=1, description="First line to show, counted from 1.")] = 1
    limit: Annotated[int, Meta(ge=1, description="How many lines to show at most.")] = 2_000


async def run(scope: WorkerScope, call_id: str, arguments: FileReadArguments) -> ToolOutput:
    """Show the wanted lines, and say where to read on when there are more.

    Raises:
        Rejected: the file is too large, not a regular one, or outside of the workspace.
        SandboxUnavailable: files cannot be confined here.
    """
    del call_id
    files = scope.confined().files
    try:
        content = await asyncio.to_thread(files.read, arguments.path, limit=FILE_BYTES)
    except OSError as error:
        return scope.failed(arguments.path, error)
    lines = clean(content).split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last line break is no line
    return _excerpt(scope, lines, arguments)


def _excerpt(scope: WorkerScope, lines: list[str], arguments: FileReadArguments) -> ToolOutput:
    """Show lines from `offset`, as many as are wanted and fit, the first in any case."""
    first = arguments.offset - 1
    if first >= len(lines):
        said = f"it has {len(lines)} lines" if lines else "it is empty"
        return scope.shown(f"{arguments.path}: {said}", status="error" if first else "ok")
    wanted = lines[first : first + arguments.limit]
    room = scope.output_bytes - _NOTE_BYTES
    fitting = _fitting(wanted, room)
    whole, last = "\n".join(wanted), first + fitting
    text = cut("\n".join(wanted[:fitting]), room)
    full = None if text == whole else whole.encode()
    if last < len(lines):
        text += f"\n[lines {first + 1} to {last} of {len(lines)}; read on with offset {last + 1}]"
    return scope.shown(text, full=full)


def _fitting(lines: list[str], room: int) -> int:
    """Return how many lines fit into `room` bytes, and at least one."""
    for count, line in enumerate(lines):
        room -= len(line.encode()) + 1
        if room < 0:
            return max(count, 1)
    return len(lines)


FILE_READ: Final[Tool[WorkerScope, FileReadArguments]] = Tool(
    name="file_read",
    description=(
        "Show a text file of the workspace, all of it or some lines. Bytes that are not UTF-8 "
        "appear as replacement characters."
    ),
    arguments=FileReadArguments,
    run=run,
    repeatable=True,
)
