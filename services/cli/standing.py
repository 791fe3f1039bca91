"""How an installation is: asked of its processes, of the log, and of the read models."""

from pathlib import Path
from typing import Final

import msgspec

from projections import dead_letters, positions, runs
from projections.positions import Problem
from services.cli import output
from services.cli.exits import NotRunning
from services.cli.installation import Installation, nats_version
from services.errors import ServiceError, Transient
from services.runtime import registry
from services.runtime.database import reading, using
from services.runtime.instance import Instance
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.live import NatsLive
from services.runtime.jetstream.log import STREAM
from services.runtime.main import ASK, ProcessStatus

WAIT_S: Final = 0.4  # a process answers in a millisecond; a busy one gets this long
FAR: Final = 10_000  # events behind, from where a read model misleads
MOST: Final = 1_000


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The installation of the data directory, without its secrets."""

    pid: int
    started_at: int
    host: str | None
    port: int | None


class Standing(msgspec.Struct, kw_only=True):
    """How everything is."""

    data_dir: Path
    instance: Running | None
    nats: str
    postgres: str = "?"
    log_end: int = 0
    """Last sequence of the log."""
    processes: list[ProcessStatus] = []
    projections: dict[str, int] = {}
    """How many events each read model is behind."""
    problems: list[Problem] = []
    open_runs: dict[str, int] = {}
    """Turns, branches and workers that have not ended."""
    given_up: int | None = None
    """Dead letters that wait for a person; None when that cannot be told."""
    troubles: list[str] = []
    """What is not as it should be."""


class StreamState(msgspec.Struct, frozen=True):
    """The part of a stream's state that we show."""

    messages: int = 0
    bytes: int = 0
    last_seq: int = 0


class StreamInfo(msgspec.Struct, frozen=True):
    """Answer to STREAM.INFO."""

    state: StreamState = StreamState()


async def look(here: Installation) -> Standing:
    """Ask everybody.

    Raises:
        NotRunning: nothing runs here, and no server is named.
    """
    found = Standing(data_dir=here.config.data_dir, instance=_instance(here.instance), nats="?")
    try:
        async with here.connection() as connection:
            await _ask_processes(connection, found)
            await _ask_log(connection, found)
    except NotRunning as error:
        if here.instance is None:
            raise
        found.nats = "not reachable"
        found.troubles.append(str(error))
    await _ask_database(here, found)
    found.troubles += _troubles(found)
    return found


def _instance(instance: Instance | None) -> Running | None:
    if instance is None:
        return None
    return Running(
        pid=instance.pid, started_at=instance.started_at, host=instance.host, port=instance.port
    )


async def _ask_processes(connection: Connection, found: Standing) -> None:
    answers = await NatsLive(connection).ask_all(ASK, wait_s=WAIT_S)
    statuses = [msgspec.json.decode(answer, type=ProcessStatus) for answer in answers]
    found.processes = sorted(statuses, key=lambda status: status.owner)


async def _ask_log(connection: Connection, found: Standing) -> None:
    version = ".".join(map(str, nats_version(connection)))
    try:
        answer = await connection.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")
    except Transient as error:
        found.nats = f"{version}, JetStream does not answer"
        found.troubles.append(f"JetStream does not answer: {error}")
        return
    state = msgspec.json.decode(answer.data, type=StreamInfo).state
    found.log_end = state.last_seq
    found.nats = f"{version}, {output.plural(state.messages, 'event')}, {state.bytes / 1e6:,.1f} MB"


async def _ask_database(here: Installation, found: Standing) -> None:
    try:
        async with here.pool() as pool:
            async with using(pool) as conn:
                cursor = await conn.execute("SELECT current_setting('server_version')")
                (found.postgres,) = await cursor.fetchone() or ("?",)
                found.projections = await positions.lags(conn, found.log_end)
                found.problems = await positions.problems(conn)
            async with reading(pool, here.tenant) as conn:
                active = await runs.listing(conn, here.tenant, active=True, limit=MOST)
                letters = await dead_letters.listing(conn, here.tenant, limit=MOST)
    except Transient as error:
        found.postgres = "not reachable"
        found.troubles.append(f"PostgreSQL cannot be reached, talk goes on without it: {error}")
    except ServiceError as error:
        found.troubles.append(str(error))
    else:
        found.given_up = len(letters)
        kinds = {
            "turn": "turns",
            "branch": "branches",
            "worker": "workers",
            "synthesis": "syntheses",
        }
        found.open_runs = {
            name: sum(run.kind == kind for run in active) for kind, name in kinds.items()
        }


def _troubles(found: Standing) -> list[str]:
    """Return what is wrong with what was told."""
    loops = [loop for process in found.processes for loop in process.loops]
    there = {loop.name.partition(" ")[0] for loop in loops}
    missing = [name for name in registry.SERVICES if name not in there]
    troubles = []
    if not found.processes:
        troubles.append("no service answers: only the servers run")
    elif missing:
        troubles.append(f"nobody runs: {', '.join(missing)}")
    troubles += [
        f"{loop.name} is {loop.state}: {loop.error}" for loop in loops if loop.state != "running"
    ]
    troubles += [
        f"the read model {name} is {lag:,} events behind"
        for name, lag in found.projections.items()
        if lag > FAR
    ]
    for problem in found.problems:
        at = f" at event {problem.seq:,}" if problem.seq else ""
        troubles.append(f"{problem.name}: {problem.kind}{at}: {problem.detail}")
    return troubles
