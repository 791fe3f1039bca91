"""The tool `set_status`: tell where the work is, or how it ended.

The call itself is the fact: whoever folds the run reads these arguments from the recorded call. So
the tool has nothing to do but to check them.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from services.errors import Rejected
from services.runtime.text import shorten
from services.runtime.tool import Tool, ToolOutput
from services.worker.tools.scope import WorkerScope

StatedOutcome = Literal["succeeded", "partial", "blocked", "failed"]
"""The outcomes that a worker itself can state; cancelled and timed out are stated about it."""


class SetStatusArguments(Struct, frozen=True, kw_only=True):
    """Arguments of `set_status`."""

    status: Annotated[
        str,
        Meta(
            min_length=1,
            description="Progress: one line about what you are doing. Outcome: the full report.",
        ),
    ]
    kind: Annotated[
        Literal["progress", "outcome"],
        Meta(description="`outcome` ends the task; set it once, when you are done or stuck."),
    ] = "progress"
    outcome: (
        Annotated[
            StatedOutcome,
            Meta(
                description="With kind outcome: how it ended. `partial`: something is missing; "
                "`blocked`: somebody else must act first."
            ),
        ]
        | UnsetType
    ) = UNSET


def shown_status(arguments: SetStatusArguments, *, limit: int = 256) -> str:
    """Return what a status line shows: one line, at most `limit` characters."""
    return shorten(arguments.status, limit)


async def run(scope: WorkerScope, call_id: str, arguments: SetStatusArguments) -> ToolOutput:
    """Confirm the status.

    Raises:
        Rejected: it says nothing, or its outcome and its kind contradict each other.
    """
    del call_id
    if not arguments.status.strip():
        raise Rejected("the status says nothing")
    if arguments.kind == "progress":
        if arguments.outcome is not UNSET:
            raise Rejected("an outcome needs kind `outcome`")
        return scope.shown("status set")
    if arguments.outcome is UNSET:
        raise Rejected("kind `outcome` needs an outcome: succeeded, partial, blocked or failed")
    return scope.shown(f"outcome set: {arguments.outcome}")


SET_STATUS: Final[Tool[WorkerScope, SetStatusArguments]] = Tool(
    name="set_status",
    description=(
        "Report progress in one line whenever it changes, and at the end the outcome with a full "
        "report of what was done and found."
    ),
    arguments=SetStatusArguments,
    run=run,
    repeatable=True,
)
