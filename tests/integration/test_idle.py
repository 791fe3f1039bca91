"""Nothing happens and nothing is spent: a day goes by over the real loops of all services.

The log is in memory and the model is made of rules, both counted; the read models are real.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from schemas.base import MemoryId
from schemas.channel import ReplySent, TurnCompleted
from schemas.cortex import BriefingWritten, DaySummarised, KnowledgeSynthesised
from schemas.memory import MemorySaved
from schemas.subjects import Subject
from services.runtime import registry
from services.runtime.agents import Agents
from services.runtime.cancelling import end
from services.runtime.config import ChannelSettings, Config
from services.runtime.conversations import Conversations
from services.runtime.embedding import EmbedderUnavailable
from services.runtime.model_choice import OFFLINE_MODEL, Choice
from services.runtime.offline import OfflineModel
from services.runtime.process import Process
from services.runtime.run_loop import Equipment
from services.runtime.sandbox import Unavailable
from services.runtime.writer import Writer
from tests.support.builders import ANA, message
from tests.support.fake_live import FakeLive
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.replicas import FakeSnapshots
from tests.support.servers import until
from tests.support.virtual_clock import LOOP, VirtualClock

pytestmark = pytest.mark.integration

LATE = round(datetime(2026, 11, 24, 23, 30, tzinfo=UTC).timestamp()) * 1_000_000
HOUR = 3_600_000_000
ROOM = Subject("default", "main", "portal", "room")
DIRECT = Subject("default", "main", "portal", "ana")
MEMORY = Subject("default", "main", entity="memory")
TIMERS = {"channel sweep", "branch sweep", "worker sweep"}
TIMERS |= {"cortex", "cortex associations", "cortex supervision"}


class CountingModel(OfflineModel):
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def complete(self, request, on_delta=None):
        self.asked.append(request.kind)
        return await super().complete(request, on_delta)


class NoVectors:
    """There is no model here."""

    model, dimensions, standing = "none", 0, "there are none"

    async def embed(self, texts):
        raise EmbedderUnavailable("none")


class Installation:
    """Every service but the interface, in one process."""

    def __init__(self, pool, place) -> None:
        self.log = FakeLog()
        self.clock = VirtualClock(LATE, timers=TIMERS)
        self.model = CountingModel()
        self.stopping = asyncio.Event()
        bodies, live = FakeBodies(), FakeLive()
        config = Config(
            data_dir=place,
            channel=ChannelSettings(coalesce_debounce_ms=0, retrigger_debounce_ms=0),
        )
        self.process = Process(
            config=config,
            clock=self.clock,
            connection=None,
            log=self.log,
            bodies=bodies,
            live=live,
            snapshots=FakeSnapshots(),
            pool=pool,
            conversations=Conversations(self.log, FakeSnapshots()),
            agents=Agents(self.log),
            equipment=Equipment(
                bodies=bodies,
                model=self.model,
                live=live,
                clock=self.clock,
                stopping=self.stopping,
            ),
            choice=Choice(OFFLINE_MODEL, "offline", "for a test"),
            embedder=NoVectors(),
            sandbox=Unavailable("for a test", "none"),
            stopping=self.stopping,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run every loop; one that fails ends the test."""
        await self.process.define_agents()
        loops = {}
        for name in registry.SERVICES:
            if name != "api":
                loops |= registry.build(name, self.process)
        tasks = [asyncio.create_task(self._run(name, loop)) for name, loop in loops.items()]
        try:
            await self.clock.asleep(TIMERS)
            yield
            assert not [task for task in tasks if task.done()]
        finally:
            self.stopping.set()
            await end(*tasks)

    async def _run(self, name, loop) -> None:
        LOOP.set(name)
        await loop()

    async def add(self, subject, event) -> None:
        envelope = Writer(self.log, self.clock, "test").seal(event)
        await self.log.append(str(subject), envelope)

    async def say(self, text, where, **fields) -> None:
        """Say something and wait until it is answered, and all that came of it."""
        id_ = f"m{len(self.log.events)}"
        await self.add(where, message(text, message_id=id_, author=ANA, **fields))
        await until(lambda: self.at_rest(where), timeout_s=30)

    async def at_rest(self, where) -> bool:
        await self.pass_hours(0.02 / 3_600)  # whoever waits for a moment need not wait for ever
        state = await self.process.conversations.newest(where)
        return state.turn is None and not state.unhandled and not state.runs

    def written(self, kind) -> list:
        return [r.event for r in self.log.events if isinstance(r.event, kind)]

    async def pass_hours(self, hours) -> None:
        await self.clock.to(self.clock.now() + round(hours * HOUR))


async def test_a_day_on_which_nothing_happens_costs_nothing(pool, tmp_path):
    with capture_logs():
        here = Installation(pool, tmp_path)
        async with here.running():
            await talk(here)
            answered = len(here.model.asked)
            await here.pass_hours(0.75)  # past midnight: what there was to tidy up is tidied up
            assert len(here.written(DaySummarised)) == 1
            assert "heron" in str(here.written(BriefingWritten)[-1])

            looked = {"synthesis", "branch"}  # the graph changed, and somebody had spoken
            assert set(here.model.asked[answered:]) <= looked
            events, asked = len(here.log.events), len(here.model.asked)
            timers = here.clock.timers = {sleeper.loop for sleeper in here.clock.sleepers}
            assert timers >= TIMERS  # whoever sleeps now has a timer and nothing else to do
            before = dict(here.clock.slept)
            await here.pass_hours(24)
            assert len(here.model.asked) == asked
            assert [r.envelope.type for r in here.log.events[events:]] == []
            for name in timers:  # they did look, again and again
                assert here.clock.slept[name] - before[name] >= 24

            await here.say("when is our release day?", DIRECT)
            assert "Thursday" in str(here.written(ReplySent)[-1])


async def talk(here) -> None:
    """Let something of everything happen: talk, memories, a synthesis, and a change behind it."""
    for number in range(15):
        saved = MemorySaved(
            memory_id=MemoryId(f"m{number}"),
            kind="fact",
            text=f"the server {number} is called heron {number}",
            importance=0.6,
        )
        await here.add(MEMORY, saved)
    await here.say("remember that our release day is Thursday", DIRECT)
    await here.say("hello everybody", ROOM, group=True)
    assert here.written(TurnCompleted)
    await here.pass_hours(0.1)
    await until(lambda: has(here, KnowledgeSynthesised), timeout_s=30)
    await here.add(
        MEMORY,
        MemorySaved(memory_id=MemoryId("late"), kind="fact", text="and one more", importance=0.9),
    )


async def has(here, kind) -> bool:
    return bool(here.written(kind))
