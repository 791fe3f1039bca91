"""The services of today on the log of the past; what they may not decide is given to them.

What is fixed: the time and status note of a run, which is the recorded one, and the tools that act
on the world, which give what they gave then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from schemas.run import ModelCalled
from services.branch.service import Branches
from services.channel.service import TURN_TOOLS, Channel, Parts
from services.channel.tools import Scope
from services.channel.turn import Turn
from services.cli.replaying.past import Past
from services.cli.replaying.ports import BriefingThen, RecordedRun, effect_id
from services.runtime import prompts
from services.runtime.agents import Agent
from services.runtime.bodies import text_of
from services.runtime.conversation import Trigger
from services.runtime.event_log import Recorded
from services.runtime.journal import Journal
from services.runtime.run_loop import Context
from services.runtime.run_service import Plan, Request
from services.runtime.tool import Tool, ToolOutput
from services.worker.service import Workers

REAL_TOOLS: Final = frozenset({"set_status"})
"""Tools of workers that act on nothing but the run's own stream."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a run was given then."""

    past: Past
    run: RecordedRun
    called: Recorded | None
    """Its first model call, whose note is shown again."""
    model: str
    """What it asked, where the agent names none."""

    async def note(self) -> str:
        """Return the time and status that the run was shown."""
        event = self.called.event if self.called else None
        return await text_of(self.past.bodies, event.note) if isinstance(event, ModelCalled) else ""

    @property
    def prompt(self) -> str | None:
        """Return the hash of the system prompt that the run was shown."""
        event = self.called.event if self.called else None
        return event.prompt if isinstance(event, ModelCalled) else None

    def plan(self, plan: Plan[Any]) -> Plan[Any]:
        """Return how to drive a run again."""

        async def context() -> Context:
            return replace(await plan.context(), note=await self.note())

        tools = [tool if tool.name in REAL_TOOLS else self.run.tool(tool) for tool in plan.tools]
        return replace(plan, tools=tools, context=context)


class ChannelThen(Channel):
    """A conversation's turns, driven again."""

    def __init__(self, parts: Parts, script: Script, choices: Sequence[Any]) -> None:
        super().__init__(parts)
        self._script = script
        self._choices = choices
        self.tools = tuple(self._tool(tool) for tool in TURN_TOOLS)

    async def drive(self, turn: Turn) -> None:
        """Drive a turn that was claimed then."""
        journal = self._journal(turn.subject, turn.turn_id, turn.holder)
        if turn.attempt == 1:
            await journal.find_end()
        await self._drive(turn, journal)

    async def _context(self, turn: Turn, journal: Journal) -> tuple[Context, list[Trigger]]:
        """Return what the model is shown, with the briefing of then if it can be found."""
        seen = cast("BriefingThen", self._with.briefings)
        first = None
        for choice in self._choices or [None]:
            seen.tried = choice
            made = await super()._context(turn, journal)
            if self._script.prompt in {None, prompts.digest(made[0].system)}:
                return made
            first = first or made
        return cast("tuple[Context, list[Trigger]]", first)

    async def _note(self, *_: object) -> str:
        return await self._script.note()

    def _tool(self, tool: Tool[Scope, Any]) -> Tool[Scope, Any]:
        """Return the tool itself, or as recorded where it needs what may be gone: files, jobs."""
        if tool.name not in {"send_file", "schedule"}:
            return tool
        recorded = self._script.run.tool(tool)

        async def run(scope: Scope, key: str, arguments: Any) -> ToolOutput:  # noqa: ANN401 - a tool's
            past, turn_id = self._script.past, scope.turn.turn_id
            done = past.recording.by_id.get(effect_id(turn_id, key.rpartition("/")[2]))  # type: ignore[call-overload]  # an id is a string
            if done is not None:
                past.reveal(done)
            return await recorded.run(scope, key, arguments)

        return replace(tool, run=run)


class WorkersThen(Workers):
    """Workers, driven again."""

    script: Script

    async def plan(self, request: Request, agent: Agent, journal: Journal) -> Plan[Any]:
        """Return how to drive a worker again."""
        return self.script.plan(await super().plan(request, agent, journal))


class BranchesThen(Branches):
    """Branches, driven again."""

    script: Script

    async def plan(self, request: Request, agent: Agent, journal: Journal) -> Plan[Any]:
        """Return how to drive a branch again."""
        return self.script.plan(await super().plan(request, agent, journal))
