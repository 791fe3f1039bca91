"""Start services, stop them on a signal, tell others how they are."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from services.errors import InvalidConfiguration, ServiceError
from services.runtime import logs, registry, settings
from services.runtime.cancelling import end
from services.runtime.config import Config
from services.runtime.embedded.servers import ServerStatus, Urls
from services.runtime.process import Process, opened
from services.runtime.supervisor import Loop, LoopStatus, Supervisor

ASK: Final = "live.status"  # whoever asks here is told by every process how it is

log = structlog.get_logger()


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one process is."""

    owner: str
    pid: int
    loops: tuple[LoopStatus, ...]
    model: str
    sandbox: str
    recall: str = ""
    """How memories are found, and what to do where that is not by meaning."""
    servers: tuple[ServerStatus, ...] = ()
    """The embedded servers that this process runs."""


def stop_on_signals(stopping: asyncio.Event) -> None:
    """Ask for a drain at the first SIGTERM or SIGINT; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            sys.stderr.write("stopped without draining\n")
            signal.raise_signal(signal.SIGKILL)
        log.info("process.draining", signal=signal.Signals(number).name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    loop.add_signal_handler(signal.SIGUSR1, show_tasks)


def show_tasks() -> None:
    """Write on standard error where every task stands: what to look at when something hangs."""
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)


async def supervise(
    process: Process,
    loops: Mapping[str, Loop],
    servers: Callable[[], Sequence[ServerStatus]] = tuple,
) -> None:
    """Run loops until the process is asked to stop, answering questions about them meanwhile.

    Args:
        process: What the loops stand on.
        loops: By name.
        servers: Tells how the servers are that this process runs.
    """
    gc.freeze()  # what is imported by now stays; full collections need not walk it
    supervisor = Supervisor(loops, process.stopping, process.clock)
    answering = asyncio.create_task(_answer(process, supervisor, servers))
    try:
        await supervisor.run()
    finally:
        await end(answering)


async def _answer(
    process: Process, supervisor: Supervisor, servers: Callable[[], Sequence[ServerStatus]]
) -> None:
    async for reply in process.live.questions(ASK):
        status = ProcessStatus(
            owner=process.owner,
            pid=process.pid,
            loops=tuple(supervisor.status.values()),
            model=process.choice.model,
            sandbox=process.sandbox_summary,
            recall=process.embedder.standing,
            servers=tuple(servers()),
        )
        await process.live.publish(reply, msgspec.json.encode(status))


async def run_services(config: Config, names: Sequence[str]) -> None:
    """Run services against external servers until a signal.

    Raises:
        InvalidConfiguration: the servers are not named.
        LogUnavailable: NATS does not answer.
    """
    if config.nats_url is None or config.database_url is None:
        raise InvalidConfiguration(
            ["set nats_url and database_url to run services apart; `penstock infra` prints both"]
        )
    urls = Urls(nats=config.nats_url.reveal(), database=config.database_url.reveal())
    async with opened(config, urls, actor=f"penstock {' '.join(names)}") as process:
        stop_on_signals(process.stopping)
        await process.define_agents()
        loops: dict[str, Loop] = {}
        for name in names:
            loops |= registry.build(name, process)
        log.info("services.started", services=list(names))
        await supervise(process, loops)
    log.info("services.stopped", services=list(names))


def run(main: "asyncio.Future[None] | object") -> None:
    """Run a coroutine on uvloop, to its end."""
    import uvloop  # noqa: PLC0415 - not wanted by commands that only print

    uvloop.run(main)  # type: ignore[arg-type]


def main(*names: str) -> None:
    """Run services from the environment's configuration; exit 2 when it is wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # nothing to drain before the start
    try:
        config = settings.load()
        logs.configure(service=names[0], format=config.log.format, level=config.log.level)
        run(run_services(config, names))
    except InvalidConfiguration as error:
        sys.exit(f"configuration:\n{error}")
    except ServiceError as error:
        sys.exit(str(error))
