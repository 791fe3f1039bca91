"""Every tool of a branch: memory, past conversations, handing work on, looking back, tasks."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from schemas.base import RunId
from schemas.channel import WorkerRequested
from services.branch.checkpoint_tools import CHECKPOINT_TOOLS
from services.branch.document_tools import DOCUMENT_TOOLS
from services.branch.memory_tools import MEMORY_TOOLS
from services.branch.scope import Scope
from services.branch.task_tools import TASK_TOOLS
from services.runtime import ids
from services.runtime.bodies import INLINE_BYTES
from services.runtime.text import clean, cut
from services.runtime.tool import Tool, ToolOutput


class SpawnWorker(Struct, frozen=True):
    """Arguments of `spawn_worker`."""

    task: Annotated[
        str, Meta(min_length=1, description="The whole task; the worker sees nothing else.")
    ]


def worker_of(branch: RunId) -> RunId:
    """Return the id of the one worker that a branch may start."""
    return RunId(ids.derived("worker", branch))


async def _spawn_worker(scope: Scope, key: str, arguments: SpawnWorker) -> ToolOutput:  # noqa: ARG001
    event = WorkerRequested(
        run_id=worker_of(scope.run_id),
        task=cut(clean(arguments.task), INLINE_BYTES),
        parent=scope.run_id,
    )
    await scope.request(event, ids.derived("delegated", scope.run_id))
    return ToolOutput(f"Worker {event.run_id} goes on with it.")


TOOLS: Final[tuple[Tool[Scope, Any], ...]] = (
    *MEMORY_TOOLS,
    Tool(
        "spawn_worker",
        "Hand the task on to a worker with a shell and files. Possible once; it ends you.",
        SpawnWorker,
        _spawn_worker,
        repeatable=True,
    ),
    *CHECKPOINT_TOOLS,
    *DOCUMENT_TOOLS,
    *TASK_TOOLS,
)
