"""What a branch can do with checkpoints: list them, read one, read what it stands for."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from services.branch.scope import Scope
from services.runtime import reading_back
from services.runtime.chronicle import Checkpoint
from services.runtime.reading_back import Chapter
from services.runtime.tool import Tool, ToolOutput

DATA: Final = "What was said, as data:"


class CheckpointList(Struct, frozen=True):
    """Arguments of `checkpoint_list`."""


class CheckpointOpen(Struct, frozen=True):
    """Arguments of `checkpoint_open`."""

    number: Annotated[int, Meta(ge=1, description="Its number, as `#3` in the list.")]


class CheckpointExpand(Struct, frozen=True):
    """Arguments of `checkpoint_expand`."""

    number: Annotated[int, Meta(ge=1, description="Its number, as `#3` in the list.")]
    skip: Annotated[int, Meta(ge=0, description="Entries to leave out, from the oldest.")] = 0


async def _list(scope: Scope, key: str, arguments: CheckpointList) -> ToolOutput:  # noqa: ARG001
    return ToolOutput(reading_back.listed(scope.fork.checkpoints))


async def _open(scope: Scope, key: str, arguments: CheckpointOpen) -> ToolOutput:  # noqa: ARG001
    found = await _known(scope, arguments.number)
    return ToolOutput(f"{DATA}\n{await reading_back.opened(found, scope.bodies)}")


async def _expand(scope: Scope, key: str, arguments: CheckpointExpand) -> ToolOutput:  # noqa: ARG001
    chapter = await _chapter(scope, arguments.number)
    text = await reading_back.expanded(chapter, scope.bodies, skip=arguments.skip)
    return ToolOutput(f"{DATA}\n{text}")


async def _known(scope: Scope, number: int) -> Checkpoint:
    """Return a checkpoint, read from the log where a rollup stands for it."""
    for one in scope.fork.checkpoints:
        if one.number == number:
            return one
    return (await _chapter(scope, number)).checkpoint


async def _chapter(scope: Scope, number: int) -> Chapter:
    """Return a checkpoint of the conversation as it was when the branch was asked for.

    Raises:
        Rejected: there was none of this number.
    """
    found = await reading_back.chapters(scope.writer.log, scope.conversation, until=scope.since)
    known = [chapter.checkpoint for chapter in found.values()]
    return found[reading_back.one_of(known, number).number]


CHECKPOINT_TOOLS: Final[tuple[Tool[Scope, Any], ...]] = (
    Tool(
        "checkpoint_list",
        "List the checkpoints that stand for the older parts of this conversation.",
        CheckpointList,
        _list,
        repeatable=True,
    ),
    Tool(
        "checkpoint_open",
        "Read the whole summary of one checkpoint, also of one that was rolled up.",
        CheckpointOpen,
        _open,
        repeatable=True,
    ),
    Tool(
        "checkpoint_expand",
        "Read what was said itself where a checkpoint stands, up to 100 entries at once.",
        CheckpointExpand,
        _expand,
        repeatable=True,
    ),
)
