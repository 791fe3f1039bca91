"""Run workers.

Consumes:  worker_requested, input_routed, cancel_requested
Emits:     the worker's steps and status, one outcome
Never:     talks to people, touches memory
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from msgspec import UNSET

from schemas.channel import ChannelEvent, WorkerConcluded, WorkerReported
from schemas.run import RunEnded, RunWaiting, StatusSet
from services.runtime import prompts
from services.runtime.agents import Agent
from services.runtime.bodies import INLINE_BYTES
from services.runtime.conversations import history, shown
from services.runtime.journal import Journal
from services.runtime.model import Message
from services.runtime.run_loop import Context
from services.runtime.run_service import Plan, Request, RunParts, RunService
from services.runtime.run_state import RunState
from services.runtime.text import clean, cut
from services.runtime.tool import Tool, ToolOutput
from services.worker.tools import TOOLS, WorkerScope
from services.worker.tools.set_status import SET_STATUS, SetStatusArguments, shown_status

ScopeOf = Callable[[str, str], WorkerScope]
"""Where the workers of `(tenant, agent)` work."""


@dataclass(frozen=True, slots=True)
class RecordingScope(WorkerScope):
    """A worker's scope that also records what the worker says of itself."""

    journal: Journal | None = None


async def _set_status(scope: RecordingScope, key: str, arguments: SetStatusArguments) -> ToolOutput:
    """Check the status, then record it: the outcome that the run ends by is this event."""
    output = await SET_STATUS.run(scope, key, arguments)
    if scope.journal is not None:
        is_final = arguments.outcome is not UNSET
        status = clean(arguments.status) if is_final else shown_status(arguments)
        event = StatusSet(
            run_id=scope.journal.state.run_id,
            status=cut(status, INLINE_BYTES, keep="both"),
            outcome=arguments.outcome if arguments.outcome is not UNSET else None,
        )
        await scope.journal.append(event)
    return output


_RECORDING: Final[Tool[RecordingScope, SetStatusArguments]] = Tool(
    SET_STATUS.name, SET_STATUS.description, SET_STATUS.arguments, _set_status, repeatable=True
)
WORKER_TOOLS: Final[tuple[Tool[Any, Any], ...]] = tuple(
    _RECORDING if tool is SET_STATUS else tool for tool in TOOLS
)


class Workers(RunService[RecordingScope]):
    """Works; any number of replicas share the work."""

    kind = "worker"
    durable = "worker"  # names our read position in the log: never rename
    request_types = frozenset({"worker_requested", "input_routed"})

    def __init__(self, parts: RunParts, scope_of: ScopeOf) -> None:
        super().__init__(parts)
        self._scope_of = scope_of
        self._sections = prompts.load("services.worker", "worker.md")

    async def plan(self, request: Request, agent: Agent, journal: Journal) -> Plan[RecordingScope]:
        """Return how to drive a worker: on its task, and on the conversation if it was forked."""
        place = self._scope_of(agent.tenant, agent.id)
        scope = RecordingScope(
            place.sandbox, place.shell_timeout_s, place.output_bytes, journal=journal
        )
        fork = await self._with.conversations.up_to(request.subject, request.forked_at)

        async def context() -> Context:
            bodies = self._with.equipment.bodies
            task = Message(role="user", content=f"[task] {await shown(request.task, bodies)}")
            return Context(
                system=prompts.system_prompt(agent, self._sections),
                history=(*await history(fork, bodies), task),
                at=request.forked_at,
                note=prompts.time_note(self._with.writer.clock),
            )

        return Plan(WORKER_TOOLS, scope, context)

    def conclusion(self, run: RunState, ended: RunEnded) -> ChannelEvent:
        """Return what the conversation is told."""
        return WorkerConcluded(
            run_id=run.run_id,
            outcome=ended.outcome,
            result=_told(ended),
        )

    def report(self, run: RunState, waiting: RunWaiting) -> ChannelEvent | None:
        """Return what the conversation is told of a worker that waits."""
        return WorkerReported(run_id=run.run_id, result=waiting.result or "No result yet.")


def _told(ended: RunEnded) -> Any:  # noqa: ANN401 - text or a reference to it
    """Return the result, with the reason where the outcome alone does not say it."""
    if not isinstance(ended.result, str):
        return ended.result
    parts = [ended.result, f"({ended.reason})" if ended.reason else ""]
    return "\n".join(part for part in parts if part) or "No result."
