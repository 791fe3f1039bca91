"""Processes of ours on one shared log, which can be killed at any point of their work.

A point is before or after an append, a model call or a tool of a worker. A killed process does
nothing any more: it cannot read, write, run a tool or tidy up. What it held comes to another.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from schemas.base import AgentId
from schemas.config import AgentDefined
from schemas.schedule import JobDefined
from schemas.subjects import Subject, parse
from services.branch.occasions import Occasions
from services.branch.service import Branches
from services.channel.service import TRIGGERS, Channel, Parts
from services.channel.steering import places
from services.channel.tools import JobLine
from services.compactor import decider, loops as compacting, service as compactor
from services.compactor.compactions import Compactions
from services.compactor.service import Compactor
from services.cortex.synthesis import TYPES as SYNTHESES, Syntheses, SynthesisParts
from services.runtime.agents import Agents, config_subject
from services.runtime.briefings import Briefings
from services.runtime.config import ChannelSettings, Config, PersistenceSettings
from services.runtime.consumer import settle
from services.runtime.conversation import EVERYTHING
from services.runtime.conversations import Conversations
from services.runtime.event_log import Append, Delivery, EventLog, Handler, Recorded
from services.runtime.intake import Intake
from services.runtime.jobs.desk import Jobs
from services.runtime.model import Model, ModelAnswer, ModelRequest, OnDelta
from services.runtime.run_loop import Equipment
from services.runtime.run_service import RunParts
from services.runtime.sandbox import Limits, Result
from services.runtime.sandbox.workspace import Workspace
from services.runtime.tool import Tool
from services.runtime.writer import Writer
from services.scheduler.delivery import TYPES as RESULTS, Deliveries as Results
from services.worker.service import Workers
from services.worker.tools import WorkerScope
from tests.support.builders import (
    BRANCH,
    COMPACTION,
    CONVERSATION,
    SYNTHESIS,
    TURN,
    WORKER,
    message,
)
from tests.support.fake_clock import FakeClock
from tests.support.fake_live import FakeLive
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.scripted_model import Brain, ScriptedModel


class Killed(BaseException):
    """The process is dead. No handler of exceptions may help it."""


@dataclass(frozen=True)
class Point:
    """A point at which a process may die."""

    when: str
    """`before` or `after`."""
    what: str
    """Type of the event that is appended, `model`, or the name of a tool."""
    subject: str = ""


Hook = Callable[["Replica", Point], Awaitable[None]]


class FakeSnapshots:
    """Snapshots in a dictionary."""

    def __init__(self) -> None:
        self.saved: dict[str, bytes] = {}

    async def load(self, key: str) -> bytes | None:
        return self.saved.get(key)

    async def save(self, key: str, value: bytes) -> None:
        self.saved[key] = value


@dataclass
class FakeSandbox:
    """Remembers commands instead of running them; files are real."""

    files: Workspace
    limits: Limits = field(default_factory=Limits)
    commands: list[str] = field(default_factory=list)

    async def run(self, command, *, cwd, timeout_s, env) -> Result:
        self.commands.append(command)
        return Result(exit_code=0, output=b"done", dropped=0, stopped=None, duration_ms=1)


async def nothing(replica: "Replica", point: Point) -> None:
    """Let everybody live."""


class Shared:
    """What survives every crash: the log, the object store, the files, the model's provider."""

    def __init__(
        self,
        brain: Brain | None = None,
        *,
        place: Path | None = None,
        log: EventLog | None = None,
        settings: ChannelSettings | None = None,
        persistence: PersistenceSettings | None = None,
        limits: decider.Limits | None = None,
    ) -> None:
        self.log = log or FakeLog()
        self.bodies = FakeBodies()
        self.snapshots = FakeSnapshots()
        self.live = FakeLive()
        self.clock = FakeClock()
        self.model = ScriptedModel(brain=brain)
        self.sandbox = FakeSandbox(Workspace(place or Path("nowhere")))
        self.settings = settings or ChannelSettings()
        self.persistence = persistence or PersistenceSettings()
        keep = self.settings.history_entries
        self.limits = limits or decider.Limits(window_tokens=128_000, keep=keep)
        self.hook: Hook = nothing
        self.points: list[Point] = []
        """Everything that was reached, by whomever."""
        self.stored_by: dict[int, Replica] = {}
        """Which process stored an event, by sequence."""

    @property
    def outside(self) -> Writer:
        """Writes in the name of those whom no crash concerns."""
        return Writer(self.log, self.clock, "test")

    async def define(self, tenant: str = "acme", agent: str = "atlas") -> None:
        """Make sure that the agent exists."""
        event = AgentDefined(agent=AgentId(agent), name="Atlas", instructions="Be brief.")
        await self.log.append(config_subject(tenant), self.outside.seal(event))

    async def say(self, text: str, *, subject=CONVERSATION, **fields) -> None:
        """Let a person say something."""
        event = message(text, message_id=fields.pop("message_id", text), **fields)
        await self.log.append(str(subject), self.outside.seal(event))

    def intake(self) -> Intake:
        """Return the way in."""
        return Intake(self.outside, self.bodies, Agents(self.log))


class Replica:
    """One process with every service in it."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.dead = False
        self.log = MortalLog(shared.log, self)
        keep = shared.settings.history_entries
        self.conversations = Conversations(self.log, shared.snapshots, keep=keep)
        equipment = Equipment(
            bodies=shared.bodies,
            model=MortalModel(shared.model, self),
            live=shared.live,
            clock=shared.clock,
            stopping=asyncio.Event(),
        )
        self.stopping = equipment.stopping
        agents = Agents(self.log, shared.clock)

        def parts(kind, profile, conversations=self.conversations, equipment=equipment):
            return RunParts(
                writer=Writer(self.log, shared.clock, kind),
                equipment=equipment,
                conversations=conversations,
                agents=agents,
                profile=profile,
                default_model="scripted/one",
            )

        self.channel = Channel(
            Parts(
                writer=Writer(self.log, shared.clock, "channel"),
                equipment=equipment,
                conversations=self.conversations,
                agents=agents,
                settings=shared.settings,
                profile=TURN,
                statuses=NoStatuses(),
                workspace=lambda tenant, agent: shared.sandbox.files,
                default_model="scripted/one",
                briefings=Briefings(self.log, shared.clock),
                jobs=Jobs(
                    Writer(self.log, shared.clock, "channel"),
                    shared.bodies,
                    self.conversations,
                    agents,
                ),
                job_index=FoldedJobs(self.log),
            )
        )
        self.branches = Branches(
            parts("branch", BRANCH),
            pool=None,
            settings=shared.persistence,
            known=NothingProjected(),
        )
        self.occasions = Occasions(
            Writer(self.log, shared.clock, "branch"), self.conversations, None, shared.persistence
        )
        self.workers = MortalWorkers(
            parts("worker", WORKER), lambda tenant, agent: WorkerScope(shared.sandbox)
        )
        self.workers.replica = self
        self.syntheses = Syntheses(
            SynthesisParts(
                writer=Writer(self.log, shared.clock, "cortex"),
                equipment=equipment,
                agents=agents,
                profile=SYNTHESIS,
                default_model="scripted/one",
            )
        )
        folds = Conversations(self.log, shared.snapshots, keep=EVERYTHING)
        self.compactor = Compactor(
            Writer(self.log, shared.clock, "compactor"), folds, shared.limits
        )
        equipped = compacting.equipped(equipment, Config())
        self.compactions = Compactions(parts("compactor", COMPACTION, folds, equipped))
        self.results = Results(
            Writer(self.log, shared.clock, "scheduler"), shared.bodies, agents, self.stopping
        )

    async def reach(self, point: Point) -> None:
        """Come to a point, and perhaps not further."""
        self.check()
        self.shared.points.append(point)
        await self.shared.hook(self, point)
        self.check()

    def kill(self) -> None:
        """End this process."""
        self.dead = True

    def check(self) -> None:
        if self.dead:
            raise Killed

    async def look(self, subject: Subject = CONVERSATION) -> object:
        """Look whether a persistence branch is due; say why, if it is."""
        newest = await self.log.last(str(subject), fresh=True)
        now = self.shared.clock.now()
        return await self.occasions.consider(subject, newest.seq if newest else 0, now)

    async def _look(self, delivery: Delivery) -> None:
        await self.look(parse(delivery.recorded.subject))

    def handlers(self) -> Mapping[str, tuple[frozenset[str], Handler]]:
        """Return each durable with the types that it is for and what handles them."""
        cancels = frozenset({"cancel_requested"})
        return {
            "channel": (TRIGGERS, self.channel.handle),
            "branch": (self.branches.request_types, self.branches.handle),
            "branch_control": (cancels, self.branches.handle_cancel),
            "worker": (self.workers.request_types, self.workers.handle),
            "worker_control": (cancels, self.workers.handle_cancel),
            "persistence": (frozenset(), self._look),  # a loop, which nothing is delivered to
            "cortex_synthesis": (SYNTHESES, self.syntheses.handle),
            "compactor": (compactor.TRIGGERS, self.compactor.handle),
            "compaction": (self.compactions.request_types, self.compactions.handle),
            "scheduler_delivery": (RESULTS, self.results.handle),
        }


class NothingProjected:
    """A read model of memories that has not begun: all is to be read from the log."""

    async def position(self) -> int:
        return 0

    async def near(self, place, candidate, ids) -> list:
        return []

    async def gone(self, place, candidate, ids, since) -> list:
        return []

    async def texts(self, place, memory_ids) -> list[str]:
        return []


class NoStatuses:
    """Nobody said anything yet."""

    async def of(self, tenant: str, run_ids: list[str]) -> dict[str, str]:
        return {}


class FoldedJobs:
    """The jobs of an agent, from the log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def listing(self, tenant: str, agent: str) -> list[JobLine]:
        found: dict[str, JobLine] = {}
        async for recorded in self._log.read(f"evt.{tenant}.{agent}.cron.>", fresh=True):
            if isinstance(recorded.event, JobDefined):
                name = parse(recorded.subject).conversation
                event = recorded.event
                found[name] = JobLine(places(event), f"- {name}", str(event.prompt))
        return list(found.values())


class MortalWorkers(Workers):
    """Workers whose tools are points too."""

    replica: Replica

    async def plan(self, request, agent, journal):
        plan = await super().plan(request, agent, journal)
        return replace(plan, tools=[self._mortal(tool) for tool in plan.tools])

    def _mortal(self, tool: Tool) -> Tool:
        async def run(scope, key, arguments):
            await self.replica.reach(Point("before", tool.name))
            output = await tool.run(scope, key, arguments)
            await self.replica.reach(Point("after", tool.name))
            return output

        return replace(tool, run=run)


class MortalModel:
    """The model as one process reaches it."""

    def __init__(self, model: Model, replica: Replica) -> None:
        self._model = model
        self._replica = replica

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelAnswer:
        await self._replica.reach(Point("before", "model"))
        answer = await self._model.complete(request)
        await self._replica.reach(Point("after", "model"))
        return answer


class MortalLog:
    """The log as one process reaches it."""

    def __init__(self, log: EventLog, replica: Replica) -> None:
        self._log = log
        self._replica = replica

    async def append(self, subject, envelope):
        return await self._stored(self._log.append(subject, envelope), subject, envelope)

    async def append_if(self, subject, expected, envelope):
        storing = self._log.append_if(subject, expected, envelope)
        return await self._stored(storing, subject, envelope)

    async def append_batch(self, appends: Sequence[Append]):
        last = appends[-1]
        return await self._stored(self._log.append_batch(appends), last.subject, last.envelope)

    async def _stored(self, storing, subject, envelope):
        try:
            await self._replica.reach(Point("before", envelope.type, subject))
        except BaseException:
            storing.close()
            raise
        seq = await storing
        self._replica.shared.stored_by.setdefault(seq, self._replica)
        await self._replica.reach(Point("after", envelope.type, subject))
        return seq

    async def read(self, pattern, *, after=0, until=None, fresh=False):
        self._replica.check()
        async for recorded in self._log.read(pattern, after=after, until=until, fresh=fresh):
            self._replica.check()
            yield recorded

    async def last(self, pattern, *, fresh=False) -> Recorded | None:
        self._replica.check()
        return await self._log.last(pattern, fresh=fresh)


@dataclass(frozen=True)
class Due:
    """One delivery that is owed to a durable."""

    durable: str
    recorded: Recorded
    attempt: int = 1

    @property
    def key(self) -> tuple[str, int]:
        """What an acknowledgement is about."""
        return (self.durable, self.recorded.seq)


class Deliveries:
    """What the durables of all services are owed, one delivery at a time, until all are at rest."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.replica = Replica(shared)
        self._position = 0
        self._owed: deque[Due] = deque()

    async def settle(self, *, at_most: int = 300) -> None:
        """Deliver until nothing is left to deliver."""
        for _ in range(at_most):
            self._take_in()
            if not self._owed:
                return
            await self.deliver(self._owed.popleft())
        raise AssertionError(f"it does not come to rest: {[due.durable for due in self._owed]}")

    async def look(self) -> None:
        """Let the living process look for what is to be kept; again if it dies of it."""
        try:
            await self.replica.look()
        except Killed:
            self.shared.log._ids.clear()
            self.replica = Replica(self.shared)
            await self.look()

    async def deliver(self, due: Due) -> None:
        """Hand a delivery to the living process; what is not acknowledged is owed again."""
        _, handle = self.replica.handlers()[due.durable]
        again = replace(due, attempt=due.attempt + 1)
        try:
            delivery = Delivery(due.recorded, due.attempt)
            verdict = await settle(self.replica.log, due.durable, delivery, handle)
        except Killed:
            self.shared.log._ids.clear()  # the log's memory of ids is two minutes long
            self.replica = Replica(self.shared)
            self._owed.appendleft(again)
        else:
            if verdict.action != "ack":
                self._owed.append(again)

    def _take_in(self) -> None:
        handlers = self.replica.handlers()
        for recorded in self.shared.log.events[self._position :]:
            self._position = recorded.seq
            for durable, (types, _) in handlers.items():
                if recorded.envelope.type in types:
                    self._owed.append(Due(durable, recorded))
