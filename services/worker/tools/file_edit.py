"""The tool `file_edit`: replace a passage of a text file."""

import asyncio
from typing import Annotated, Final

from msgspec import Meta, Struct

from services.errors import Rejected
from services.runtime.tool import Tool, ToolOutput
from services.worker.tools.file_read import FILE_BYTES
from services.worker.tools.file_write import encoded
from services.worker.tools.scope import WorkerScope


class FileEditArguments(Struct, frozen=True, kw_only=True):
    """Arguments of `file_edit`."""

    path: Annotated[str, Meta(min_length=1, description="File, relative to /workspace.")]
    old: Annotated[
        str, Meta(min_length=1, description="Passage to replace, exact in every character.")
    ]
    new: Annotated[str, Meta(description="What to put in its place; empty removes it.")]
    replace_all: Annotated[
        bool, Meta(description="Replace every occurrence instead of requiring exactly one.")
    ] = False


async def run(scope: WorkerScope, call_id: str, arguments: FileEditArguments) -> ToolOutput:
    """Replace the passage durably, and say how many were replaced.

    Raises:
        Rejected: the passage is not there, or there more than once; or as for `file_write`.
        SandboxUnavailable: files cannot be confined here.
    """
    del call_id
    sandbox = scope.confined()
    replaced = 0

    def edit(content: bytes) -> bytes:
        nonlocal replaced
        text, replaced = _replaced(content, arguments)
        return encoded(text, limit=sandbox.limits.file_bytes)

    try:
        await asyncio.to_thread(sandbox.files.change, arguments.path, edit, limit=FILE_BYTES)
    except OSError as error:
        return scope.failed(arguments.path, error)
    return scope.shown(f"{replaced} replaced in {arguments.path}")


def _replaced(content: bytes, arguments: FileEditArguments) -> tuple[str, int]:
    """Return the edited text and the number of passages that were replaced.

    Raises:
        Rejected: the number of occurrences is not the one that is needed, or this is not text.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Rejected(f"{arguments.path} is not UTF-8 text; change it with shell") from error
    if arguments.old == arguments.new:
        raise Rejected("`old` and `new` are the same")
    found = text.count(arguments.old)
    if found == 0:
        raise Rejected(f"0 matches in {arguments.path}; read it and copy the passage exactly")
    if found > 1 and not arguments.replace_all:
        raise Rejected(
            f"{found} matches in {arguments.path}; add lines around the passage so that it is "
            "unique, or set replace_all"
        )
    return text.replace(arguments.old, arguments.new), found


FILE_EDIT: Final[Tool[WorkerScope, FileEditArguments]] = Tool(
    name="file_edit",
    description="Replace a passage in a text file of the workspace by another.",
    arguments=FileEditArguments,
    run=run,
)
