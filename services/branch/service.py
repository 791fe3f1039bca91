"""Run branches.

Consumes:  branch_requested, cancel_requested
Emits:     the branch's steps, its conclusion, memory writes, changes of tasks, at most one worker
           request of its own
Never:     talks to people
"""

from typing import Any

from schemas.channel import BranchConcluded, ChannelEvent
from schemas.run import RunEnded, RunWaiting
from services.branch import persistence, receipt, sources
from services.branch.scope import Scope
from services.branch.sources import PersistenceScope
from services.branch.tools import TOOLS, worker_of
from services.memory.keeping import Keeper
from services.memory.neighbours import Known, Projected
from services.memory.people import People
from services.runtime import prompts
from services.runtime.agents import Agent
from services.runtime.config import PersistenceSettings
from services.runtime.conversations import history, shown
from services.runtime.database import Pool
from services.runtime.embedding import Embedder
from services.runtime.journal import Journal
from services.runtime.model import Message
from services.runtime.run_loop import Context
from services.runtime.run_service import Plan, Request, RunParts, RunService
from services.runtime.run_state import RunState
from services.runtime.tasks.desk import Desk


class Branches(RunService[Any]):
    """Thinks; any number of replicas share the work."""

    kind = "branch"
    durable = "branch"  # names our read position in the log: never rename
    request_types = frozenset({"branch_requested"})

    def __init__(
        self,
        parts: RunParts,
        pool: Pool,
        embedder: Embedder | None = None,
        settings: PersistenceSettings | None = None,
        *,
        known: Known | None = None,
    ) -> None:
        super().__init__(parts)
        self._pool = pool
        self._embedder = embedder
        self._keeper = Keeper(parts.writer, known or Projected(pool, embedder), embedder)
        self._people = People(parts.writer.log)
        self._desk = Desk(parts.writer, parts.equipment.bodies)
        self._sections = prompts.load("services.branch", "branch.md")
        self._persistence_sections = prompts.load("services.branch", "persistence.md")
        self._persistence_profile = persistence.profile_of(
            parts.profile, settings or PersistenceSettings()
        )

    async def plan(self, request: Request, agent: Agent, journal: Journal) -> Plan[Any]:  # noqa: ARG002
        """Return how to drive a branch: on the conversation as it was at the fork."""
        fork = await self._with.conversations.up_to(request.subject, request.forked_at)
        silent = request.purpose == "persistence"
        sections = self._persistence_sections if silent else self._sections
        occurrence = None if silent else fork.focus
        scope = Scope(
            run_id=request.run_id,
            conversation=request.subject,
            agent=agent.id,
            speaker=fork.speaker if occurrence is None else None,
            source=request.forked_at,
            since=request.seq,
            turn=request.turn,
            pool=self._pool,
            writer=self._with.writer,
            fork=fork,
            system=prompts.system_prompt(agent, sections),
            conversations=self._with.conversations,
            people=self._people,
            keeper=self._keeper,
            bodies=self._with.equipment.bodies,
            embedder=self._embedder,
            desk=self._desk,
            occurrence=occurrence,
        )
        if silent:
            return await self._persistence(request, scope)

        async def context() -> Context:
            bodies = self._with.equipment.bodies
            task = Message(role="user", content=f"[task] {await shown(request.task, bodies)}")
            return Context(
                system=scope.system,
                history=(*await history(fork, bodies), task),
                at=request.forked_at,
                note=prompts.time_note(self._with.writer.clock),
            )

        return Plan(TOOLS, scope, context)

    async def _persistence(self, request: Request, scope: Scope) -> Plan[Any]:
        """Return how to drive a persistence branch: on what was said since the last receipt."""
        since, until = scope.fork.unsaved.since, request.seq - 1
        log = self._with.writer.log
        events = log.read(str(request.subject), after=since, until=until, fresh=True)
        said = sources.lines([recorded async for recorded in events])

        async def context() -> Context:
            bodies = self._with.equipment.bodies
            task = Message(role="user", content=f"[task] {await shown(request.task, bodies)}")
            return Context(
                system=scope.system,
                history=(*await sources.messages(scope.fork, said, bodies), task),
                at=request.forked_at,
                note=prompts.time_note(self._with.writer.clock),
            )

        within = PersistenceScope(scope, sources.sources(said))
        return Plan(persistence.TOOLS, within, context, self._persistence_profile)

    def conclusion(self, run: RunState, ended: RunEnded) -> ChannelEvent:
        """Return what the conversation is told."""
        worker = worker_of(run.run_id) if "spawn_worker" in run.ok_tools else None
        return BranchConcluded(
            run_id=run.run_id,
            outcome=ended.outcome,
            conclusion=_refused(run, ended)
            or receipt.given(run)
            or ended.result
            or ended.reason
            or "No conclusion.",
            delegated_to=worker,
        )

    def report(self, run: RunState, waiting: RunWaiting) -> ChannelEvent | None:
        """Branches never wait."""
        del run, waiting
        return None


def _refused(run: RunState, ended: RunEnded) -> str:
    """Return why a branch stopped that no budget had room for, behind what it had said so far."""
    if run.refusal is None:
        return ""
    said = ended.result if isinstance(ended.result, str) else ""
    return f"{said}\n({ended.reason})".strip()
