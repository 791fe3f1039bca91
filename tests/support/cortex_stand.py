"""The cortex in tests: a log in memory, real read models that follow it, a clock that is set."""

from dataclasses import dataclass, field

from projections.registry import PROJECTIONS
from schemas.base import AgentId, MemoryId
from schemas.channel import FileSent, WorkerConcluded, WorkerRequested
from schemas.config import AgentDefined
from schemas.cortex import BriefingWritten
from schemas.memory import MemorySaved
from schemas.subjects import Subject
from services.cortex.associations import Associations
from services.cortex.briefer import Briefer
from services.cortex.days_kept import DaysKept
from services.cortex.knowledge import Knowledge
from services.cortex.reading import Around
from services.cortex.similarity import Similarity
from services.cortex.supervision import Supervision
from services.cortex.tending import Tending
from services.projector.applying import Member, take_in
from services.runtime.agents import Agents, config_subject
from services.runtime.briefings import shown, subject_of
from services.runtime.config import Config, CortexSettings
from services.runtime.conversations import Conversations
from services.runtime.database import Pool
from services.runtime.event_log import EventLog
from services.runtime.writer import Writer
from tests.support.builders import ANA, message
from tests.support.fake_clock import FakeClock
from tests.support.fake_live import FakeLive
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.replicas import FakeSnapshots

OPS = Subject("acme", "atlas", "discord", "ops")
DIRECT = Subject("acme", "atlas", "discord", "ana")


@dataclass
class Stand:
    """What every replica of the cortex shares."""

    pool: Pool
    log: FakeLog = field(default_factory=FakeLog)
    clock: FakeClock = field(default_factory=FakeClock)
    bodies: FakeBodies = field(default_factory=FakeBodies)
    live: FakeLive = field(default_factory=FakeLive)
    config: Config = field(default_factory=Config)
    handled: list = field(default_factory=list)
    """Deliveries of syntheses that were handed on."""
    projected: int = 0

    @property
    def settings(self) -> CortexSettings:
        return self.config.cortex

    # -- what happens ------------------------------------------------------------------------

    async def add(self, subject, event) -> int:
        envelope = Writer(self.log, self.clock, "test").seal(event)
        return await self.log.append(str(subject), envelope)

    async def define(self, tenant="acme", agent="atlas") -> None:
        await self.add(config_subject(tenant), AgentDefined(agent=AgentId(agent), name="Atlas"))

    async def say(self, text, *, where=OPS, author=ANA, group=True, **fields) -> None:
        id_ = f"m{len(self.log.events)}"
        said = message(text, message_id=id_, author=author, group=group, **fields)
        await self.add(where, said)

    async def remember(self, text, *, tenant="acme", agent="atlas", **fields) -> MemoryId:
        memory_id = MemoryId(f"m-{tenant}-{agent}-{len(self.log.events)}")
        usual = {"kind": "fact", "importance": 0.5, **fields}
        saved = MemorySaved(memory_id=memory_id, text=text, **usual)
        await self.add(Subject(tenant, agent, entity="memory"), saved)
        return memory_id

    async def work(self, task, *, where=OPS, run="w1", outcome="succeeded") -> None:
        await self.add(where, WorkerRequested(run_id=run, task=task))
        await self.add(where, WorkerConcluded(run_id=run, outcome=outcome, result="done"))

    async def send_file(self, name, *, where=OPS) -> None:
        body = await self.bodies.put(b"x")
        await self.add(where, FileSent(turn_id="t1", name=name, body=body))

    # -- the read models ---------------------------------------------------------------------

    async def project(self) -> None:
        """Let the read models take in what is new."""
        new = self.log.events[self.projected :]
        if not new:
            return
        async with self.pool.connection() as conn:
            for projection in PROJECTIONS:
                await take_in(conn, Member(projection, self.projected), new)
        self.projected = len(self.log.events)

    # -- the cortex --------------------------------------------------------------------------

    def replica(self, *, log: EventLog | None = None, similarity=None) -> "Cortex":
        return Cortex(self, log or self.log, similarity or Similarity())

    async def tend(self, replica=None) -> None:
        """Let one replica look, with read models that are up to date before and after."""
        await self.project()
        await (replica or self.replica()).tending.run_once(self.clock.now())
        await self.project()

    def written(self, kind, *, agent="atlas") -> list:
        return [
            r.event
            for r in self.log.events
            if isinstance(r.event, kind) and r.subject.split(".")[2] == agent
        ]

    def briefing(self, *, agent="atlas", here=OPS) -> str:
        """Return what is shown of the newest briefing."""
        subject = str(subject_of(here.tenant, agent, "briefing"))
        newest = [r.event for r in self.log.events if r.subject == subject]
        return shown(newest[-1] if newest else None, here)

    @property
    def briefings(self) -> list[BriefingWritten]:
        return self.written(BriefingWritten)


class Cortex:
    """One replica's duties."""

    def __init__(self, stand: Stand, log: EventLog, similarity) -> None:
        writer = Writer(log, stand.clock, "cortex")
        settings, pool = stand.settings, stand.pool

        async def handle(delivery) -> None:
            stand.handled.append(delivery)

        around = Around(pool, stand.clock)
        self.tending = Tending(
            pool,
            Agents(log),
            (
                DaysKept(writer, around, settings),
                Knowledge(writer, stand.bodies, around, stand.live, settings, handle),
                Briefer(writer, stand.bodies, around, settings),
            ),
        )
        self.associations = Associations(writer, pool, settings, similarity)
        conversations = Conversations(log, FakeSnapshots())
        self.supervision = Supervision(writer, pool, conversations, stand.config)
