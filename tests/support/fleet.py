"""Services as real processes, to be killed at any moment and started again.

Nothing is left behind: `installation` kills what it started, and the kernel does so when we die.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from schemas.channel import Person, ReplySent
from schemas.subjects import Subject, matching
from services.errors import LogUnavailable
from services.runtime.agents import Agents
from services.runtime.bodies import text_of
from services.runtime.clock import SystemClock
from services.runtime.embedded import ports
from services.runtime.embedded.server import LAUNCH
from services.runtime.event_log import EVERYTHING, Recorded
from services.runtime.intake import Intake, Receipt
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.writer import Writer
from tests.support.servers import until

READY_S = 60.0  # services start slowly while many start at once
DRAIN_S = 15.0
PERSON = Person(id="portal:p", name="person")
EVERYBODY = "channel+branch+worker+projector"
BROKEN_OFF = pytest.mark.filterwarnings(  # nats-py forgets a connection whose server dies under it
    r"ignore:.*StreamWriter\.__del__:pytest.PytestUnraisableExceptionWarning"
)


@dataclass
class Slot:
    """One replica, whatever process it is at the moment."""

    services: str
    """A service, or several in one process: `channel+branch`."""
    number: int
    process: asyncio.subprocess.Process | None = None
    log_from: int = 0
    """Where in its log file the lines of the present process begin."""

    @property
    def command(self) -> list[str]:
        names = self.services.split("+")
        alone = ["-m", f"services.{names[0]}"]
        return alone if len(names) == 1 else ["-m", "services.cli", "run", *names]

    @property
    def name(self) -> str:
        return f"{self.services}-{self.number}"


@dataclass
class Fleet:
    """Replicas of services against given servers."""

    environment: dict[str, str]
    logs: Path
    slots: list[Slot] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    async def start(self, replicas: Mapping[str, int]) -> None:
        for services, count in replicas.items():
            for number in range(count):
                slot = Slot(services, number)
                self.slots.append(slot)
                await self.launch(slot)

    async def launch(self, slot: Slot) -> None:
        ours = [sys.executable, "-I", "-S", str(LAUNCH)]
        follow = [str(os.getpid()), str(int(signal.SIGKILL)), "same"]
        with self.log_of(slot).open("ab") as log:
            slot.log_from = log.tell()
            slot.process = await asyncio.create_subprocess_exec(
                *(*ours, *follow, sys.executable, *slot.command),
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def log_of(self, slot: Slot) -> Path:
        """Return the file that the replica's log lines go to."""
        return self.logs / f"{slot.name}.log"

    async def end(self, slot: Slot) -> None:
        """SIGKILL a replica."""
        with suppress(ProcessLookupError):
            slot.process.send_signal(signal.SIGKILL)
        await slot.process.wait()
        self.kills[slot.services] += 1

    async def kill(self, slot: Slot) -> None:
        """SIGKILL a replica and start it again."""
        await self.end(slot)
        await self.launch(slot)

    async def kill_at_random(
        self, kills: int, every_s: tuple[float, float], *, services: Sequence[str], seed: int
    ) -> None:
        """Kill replicas at random moments, every service about equally often."""
        chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        while self.kills.total() < kills:
            await asyncio.sleep(chance.uniform(*every_s))
            service = min(services, key=lambda name: (self.kills[name], chance.random()))
            await self.kill(chance.choice([s for s in self.slots if s.services == service]))

    async def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the command line to its end."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )

    async def started(self) -> None:
        """Wait until every process has come so far that it listens to signals."""

        async def all_started() -> bool:
            lines = [self.log_of(slot).read_bytes()[slot.log_from :] for slot in self.slots]
            return all(b"services.started" in said for said in lines)

        await until(all_started, timeout_s=READY_S)

    async def stop(self) -> list[int]:
        """SIGTERM everything once it has started; return the exit codes."""
        await self.started()
        for slot in self.slots:
            with suppress(ProcessLookupError):
                slot.process.send_signal(signal.SIGTERM)
        return [await asyncio.wait_for(slot.process.wait(), DRAIN_S) for slot in self.slots]

    async def destroy(self) -> None:
        """SIGKILL whatever still runs."""
        running = [slot.process for slot in self.slots if slot.process is not None]
        for process in running:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
        await asyncio.gather(*(process.wait() for process in running))


@dataclass(frozen=True)
class Installation:
    """Running services, and how people outside talk to them and look into their log."""

    fleet: Fleet
    log: JetStreamLog
    bodies: JetStreamBodies
    intake: Intake
    connection: Connection

    async def say(self, text: str, *, room: str = "room", key: str | None = None) -> Receipt:
        return await self.intake.message(in_room(room), author=PERSON, text=text, message_id=key)

    async def events(self, room: str = "room") -> list[Recorded]:
        """Return everything of a conversation, its runs included, in order."""
        place = in_room(room)
        pattern = matching(place.tenant, place.agent, place.adapter, place.conversation)
        return [recorded async for recorded in self.log.read(pattern, fresh=True)]

    async def replies(self, room: str = "room") -> list[str]:
        found = [recorded.event for recorded in await self.events(room)]
        return [await text_of(self.bodies, e.text) for e in found if isinstance(e, ReplySent)]

    async def hears(self, text: str, *, room: str = "room", timeout_s: float = 30.0) -> list[str]:
        """Wait for a reply that contains `text`; return all replies."""

        async def said() -> bool:
            return any(text in reply for reply in await self.replies(room))

        try:
            await until(said, timeout_s=timeout_s)
        except TimeoutError:
            told = [f"{r.seq} {r.event or r.envelope.type}" for r in await self.events(room)]
            raise AssertionError(f"nobody said {text!r} in:\n" + "\n".join(told)) from None
        return await self.replies(room)

    async def has(
        self, wanted: Callable[[Recorded], object], *, room: str = "room", timeout_s: float = 30.0
    ) -> Recorded:
        """Wait for an event that `wanted` takes; return the first such."""
        found: list[Recorded] = []

        async def there() -> bool:
            found[:] = [recorded for recorded in await self.events(room) if wanted(recorded)]
            return bool(found)

        await until(there, timeout_s=timeout_s)
        return found[0]

    async def caught_up(self) -> None:
        """Wait until every read model is at the end of the log."""

        async def at_the_end() -> bool:
            last = await self.log.last(EVERYTHING, fresh=True)
            url = self.fleet.environment["PENSTOCK_DATABASE_URL"]
            try:
                async with await psycopg.AsyncConnection.connect(url) as connection:
                    rows = await connection.execute("SELECT seq FROM projection_positions")
                    return all(seq >= last.seq for (seq,) in await rows.fetchall())
            except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
                return False

        await until(at_the_end, timeout_s=30)


def in_room(room: str) -> Subject:
    """Return the conversation of this name."""
    return Subject("default", "main", "portal", room)


@asynccontextmanager
async def installation(
    nats_url: str,
    database_url: str,
    place: Path,
    replicas: Mapping[str, int],
    **settings: str,
) -> AsyncIterator[Installation]:
    """Run services as processes until the end of the block, and kill what is left of them.

    Args:
        nats_url: One server or a cluster.
        database_url: A database, migrated by the projector.
        place: Where workspaces and the log files of the processes go.
        replicas: How many of each service, or of several in one process: `channel+branch`.
        settings: Environment variables.
    """
    fleet = Fleet(environment(nats_url, database_url, place, **settings), place)
    connection = await Connection.open(nats_url, name="people")
    try:
        log, bodies = JetStreamLog(connection), JetStreamBodies(connection)
        await fleet.start(replicas)
        agents = Agents(log)
        await until(_any_agent(agents), timeout_s=READY_S)
        intake = Intake(_people(log), bodies, agents)
        yield Installation(fleet, log, bodies, intake, connection)
    finally:
        await fleet.destroy()
        await connection.close()


def _people(log: JetStreamLog) -> Writer:
    return Writer(log, SystemClock(), "test")


def _any_agent(agents: Agents) -> Callable[[], Awaitable[object]]:
    async def any_agent() -> object:
        with suppress(LogUnavailable):  # nobody has made the stream yet
            return await agents.of("default")
        return None

    return any_agent


def environment(nats_url: str, database_url: str, data_dir: Path, **more: str) -> dict[str, str]:
    """Return what a service process needs to know, and nothing of ours beyond it."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(data_dir),
        "PENSTOCK_NATS_URL": nats_url,
        "PENSTOCK_DATABASE_URL": database_url,
        "PENSTOCK_DATA_DIR": str(data_dir),
        "PENSTOCK_PORT": str(ports.choose()),  # whoever runs the tests may run Penstock as well
        "PENSTOCK_LOG_FORMAT": "json",
        "PENSTOCK_PERSISTENCE_ENABLED": "false",  # nothing happens that the test did not ask for
        "PENSTOCK_EMBEDDINGS_FETCH": "false",
        **more,
    }
