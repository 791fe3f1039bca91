"""The tool `file_write`: put a file in place, whole."""

import asyncio
from typing import Annotated, Final

from msgspec import Meta, Struct

from services.errors import Rejected
from services.runtime.tool import Tool, ToolOutput
from services.worker.tools.scope import WorkerScope


class FileWriteArguments(Struct, frozen=True, kw_only=True):
    """Arguments of `file_write`."""

    path: Annotated[str, Meta(min_length=1, description="File, relative to /workspace.")]
    content: Annotated[str, Meta(description="The whole new content.")]
    create_dirs: Annotated[bool, Meta(description="Make missing directories on the way.")] = True


async def run(scope: WorkerScope, call_id: str, arguments: FileWriteArguments) -> ToolOutput:
    """Write the file durably; whoever looks meanwhile sees the old content or the new.

    Raises:
        Rejected: it is too large, not a regular file, or outside of the workspace.
        SandboxUnavailable: files cannot be confined here.
    """
    del call_id
    sandbox = scope.confined()
    content = encoded(arguments.content, limit=sandbox.limits.file_bytes)
    try:
        new = await asyncio.to_thread(
            sandbox.files.write, arguments.path, content, create_dirs=arguments.create_dirs
        )
    except OSError as error:
        return scope.failed(arguments.path, error)
    done = "created" if new else "replaced"
    return scope.shown(f"{done} {arguments.path}, {len(content):,} bytes")


def encoded(text: str, *, limit: int) -> bytes:
    """Return `text` as UTF-8.

    Raises:
        Rejected: it is larger than `limit` bytes, or contains half a character.
    """
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise Rejected("the content contains half a character (a lone surrogate)") from error
    if len(content) > limit:
        raise Rejected(f"the content has {len(content):,} bytes and {limit:,} is the most")
    return content


FILE_WRITE: Final[Tool[WorkerScope, FileWriteArguments]] = Tool(
    name="file_write",
    description="Create a file in the workspace, or replace one's whole content.",
    arguments=FileWriteArguments,
    run=run,
    repeatable=True,
)
