"""Run branches.

Consumes:  branch_requested, cancel_requested
Emits:     the branch's steps, its conclusion, memory writes, at most one worker request
Never:     talks to people
"""

from schemas.channel import BranchConcluded, ChannelEvent
from schemas.run import RunEnded, RunWaiting
from services.branch.scope import Scope
from services.branch.tools import TOOLS, worker_of
from services.runtime import prompts
from services.runtime.agents import Agent
from services.runtime.conversations import history, shown
from services.runtime.database import Pool
from services.runtime.embedding import Embedder
from services.runtime.journal import Journal
from services.runtime.model import Message
from services.runtime.run_loop import Context
from services.runtime.run_service import Plan, Request, RunParts, RunService
from services.runtime.run_state import RunState


class Branches(RunService[Scope]):
    """Thinks; any number of replicas share the work."""

    kind = "branch"
    durable = "branch"  # names our read position in the log: never rename
    request_types = frozenset({"branch_requested"})

    def __init__(self, parts: RunParts, pool: Pool, embedder: Embedder | None = None) -> None:
        super().__init__(parts)
        self._pool = pool
        self._embedder = embedder
        self._sections = prompts.load("services.branch", "branch.md")

    async def plan(self, request: Request, agent: Agent, journal: Journal) -> Plan[Scope]:  # noqa: ARG002
        """Return how to drive a branch: on the conversation as it was at the fork."""
        fork = await self._with.conversations.up_to(request.subject, request.forked_at)
        scope = Scope(
            run_id=request.run_id,
            conversation=request.subject,
            agent=agent.id,
            speaker=fork.speaker,
            source=request.forked_at,
            since=request.seq,
            turn=request.turn,
            pool=self._pool,
            writer=self._with.writer,
            embedder=self._embedder,
        )

        async def context() -> Context:
            bodies = self._with.equipment.bodies
            task = Message(role="user", content=f"[task] {await shown(request.task, bodies)}")
            return Context(
                system=prompts.system_prompt(agent, self._sections),
                history=(*await history(fork, bodies), task),
                at=request.forked_at,
                note=prompts.time_note(self._with.writer.clock),
            )

        return Plan(TOOLS, scope, context)

    def conclusion(self, run: RunState, ended: RunEnded) -> ChannelEvent:
        """Return what the conversation is told."""
        worker = worker_of(run.run_id) if "spawn_worker" in run.ok_tools else None
        return BranchConcluded(
            run_id=run.run_id,
            outcome=ended.outcome,
            conclusion=ended.result or ended.reason or "No conclusion.",
            delegated_to=worker,
        )

    def report(self, run: RunState, waiting: RunWaiting) -> ChannelEvent | None:
        """Branches never wait."""
        del run, waiting
        return None
