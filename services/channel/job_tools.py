"""What a run of a job can do: delegate, steer what it delegated, and say how it came out.

It does not talk: what it has to say is told once, when it has ended.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from schemas.base import Content, EventId
from schemas.channel import CancelRequested
from schemas.schedule import OccurrenceEnded
from services.channel.tools import TOOLS, Scope
from services.channel.turn import Turn
from services.errors import Rejected
from services.runtime import ids
from services.runtime.bodies import content
from services.runtime.conversation import Conversation
from services.runtime.text import clean
from services.runtime.tool import Tool, ToolOutput

DELEGATING: Final = frozenset({"branch", "spawn_worker", "route", "cancel"})


class SetOutcome(Struct, frozen=True):
    """Arguments of `set_outcome`."""

    text: Annotated[
        str,
        Meta(description="What to tell the people, complete; empty when there is nothing to say."),
    ] = ""
    outcome: Annotated[
        Literal["succeeded", "partial", "blocked", "failed"],
        Meta(description="How it came out. Nothing to say is a success too."),
    ] = "succeeded"
    reason: Annotated[str, Meta(description="Why, when it did not succeed.")] = ""


async def _set_outcome(scope: Scope, key: str, arguments: SetOutcome) -> ToolOutput:  # noqa: ARG001
    occurrence = scope.turn.check().occurrence
    if occurrence is None:
        raise Rejected("This is not a run of a job.")
    ended = OccurrenceEnded(
        occurrence=occurrence,
        outcome=arguments.outcome,
        text=await content(scope.bodies, clean(arguments.text).strip()),
        reason=clean(arguments.reason)[:1_000],
    )
    await conclude(scope.turn, ended)
    return ToolOutput("Recorded." if arguments.text.strip() else "Recorded; nobody is told.")


async def conclude(turn: Turn, ended: OccurrenceEnded) -> None:
    """End an occurrence, once, and stop what is still at work for it.

    Raises:
        Fenced: the turn has another owner or is over.
    """
    occurrence = turn.state.occurrence(ended.occurrence)
    if occurrence is not None:
        told = replace(ended, deliver_to=occurrence.deliver_to)
        await turn.effect(told, "occurrence", id_=ids.derived("occurrence ended", told.occurrence))
    for run in turn.state.runs:
        if run.occurrence == ended.occurrence:
            stop = CancelRequested(run_id=run.run_id, reason="the run of the job has ended")
            await turn.effect(stop, f"stop {run.run_id}")


def last_result(state: Conversation, occurrence: EventId) -> Content:
    """Return what a branch or worker of an occurrence last brought, if anything."""
    brought = [
        entry.text
        for entry in state.entries
        if entry.occurrence == occurrence and entry.label.startswith("[result of ")
    ]
    return brought[-1] if brought else ""


JOB_TOOLS: Final[tuple[Tool[Scope, Any], ...]] = (
    *(tool for tool in TOOLS if tool.name in DELEGATING),
    Tool(
        "set_outcome",
        "Say how this run of the job came out and what to tell the people. Ends the run, and "
        "stops branches and workers of it.",
        SetOutcome,
        _set_outcome,
        repeatable=True,
    ),
)
