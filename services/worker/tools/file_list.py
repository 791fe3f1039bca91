"""The tool `file_list`: show what is in a directory."""

import asyncio
from typing import Annotated, Final

from msgspec import Meta, Struct

from services.runtime.sandbox import Entry
from services.runtime.tool import Tool, ToolOutput
from services.worker.tools.scope import WorkerScope

ENTRIES: Final = 500  # names in one result; more are counted only


class FileListArguments(Struct, frozen=True, kw_only=True):
    """Arguments of `file_list`."""

    path: Annotated[str, Meta(description="Directory, relative to /workspace.")] = "."


async def run(scope: WorkerScope, call_id: str, arguments: FileListArguments) -> ToolOutput:
    """Show the names, directories first, each kind in order of name.

    Raises:
        Rejected: it is outside of the workspace.
        SandboxUnavailable: files cannot be confined here.
    """
    del call_id
    files = scope.confined().files
    try:
        entries, count = await asyncio.to_thread(files.entries, arguments.path, limit=ENTRIES)
    except OSError as error:
        return scope.failed(arguments.path, error)
    lines = [_line(entry) for entry in entries]
    if count > len(entries):
        lines.append(f"... and {count - len(entries):,} more")
    return scope.shown("\n".join(lines) or "(empty)")


def _line(entry: Entry) -> str:
    name = _printable(entry.name)
    match entry.kind:
        case "directory":
            return f"{name}/"
        case "file":
            return f"{name}  {entry.size:,} bytes"
        case "link":
            return f"{name} -> {_printable(entry.target or '')}"
        case "special":
            return f"{name}  (not a regular file)"


def _printable(name: str) -> str:
    """Return a name that stays on its line: line breaks and the like as escapes."""
    return name if name.isprintable() else repr(name)


FILE_LIST: Final[Tool[WorkerScope, FileListArguments]] = Tool(
    name="file_list",
    description="List a directory of the workspace: directories first, sizes in bytes.",
    arguments=FileListArguments,
    run=run,
    repeatable=True,
)
