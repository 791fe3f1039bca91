"""`penstock up`: everything on this machine, in one process."""

import asyncio
import importlib.metadata
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Final

import structlog

from services.api import loops as api_loops
from services.api.options import ApiOptions, access_token, local_options
from services.cli import STARTED, output, people
from services.cli.exits import OK
from services.cli.http import Client
from services.cli.invocation import program
from services.cli.log_file import LogFile
from services.cli.options import Options
from services.cli.singleton import refuse_second
from services.errors import Rejected, Transient
from services.runtime import instance, logs, registry
from services.runtime.clock import SystemClock
from services.runtime.config import Config
from services.runtime.embedded.servers import Servers, ServerStatus, Urls
from services.runtime.main import run, stop_on_signals, supervise
from services.runtime.process import Process, opened
from services.runtime.supervisor import Loop

READY_S: Final = 60.0  # the interface listens within one second; a slow disk may need more
POLL_S: Final = 0.02

log = structlog.get_logger()


class Up(Options):
    """Arguments of `up`."""

    port: int | None = None


class PortTaken(Rejected):
    """Another program listens where the interface should."""


def up(options: Up) -> int:
    """Start everything, say so, and stay until a signal."""
    config = options.settings(port=options.port)
    refuse_second(config)
    _refuse_taken_port(config)
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        log_path = config.data_dir / "logs" / "penstock.log"
        _log(config, stack.enter_context(LogFile(log_path)), verbose=options.verbose)
        run(_up(config, log_path, options))
    return OK


def _refuse_taken_port(config: Config) -> None:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            raise PortTaken(
                f"{config.host}:{config.port} cannot be listened on ({error.strerror}): stop what "
                "uses it, or choose another with --port or PENSTOCK_PORT"
            ) from None


def _log(config: Config, file: LogFile, *, verbose: bool) -> None:
    if verbose:
        logs.configure(service="penstock", format=config.log.format, level="debug")
        return
    logs.configure(
        service="penstock",
        format="json",
        level=config.log.level,
        stream=file,  # type: ignore[arg-type]  # writes, flushes, is no terminal: all that is asked
        echo=sys.stderr,
    )


async def _up(config: Config, log_path: Path, options: Up) -> None:
    """Run until a signal; one that comes during the start ends it in order."""
    starting = asyncio.current_task()
    if starting is None:  # there always is one in a coroutine; this tells the type checker
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, starting.cancel)
    servers = Servers(config)
    try:
        async with servers as urls, opened(config, urls) as process:
            stop_on_signals(process.stopping)
            await process.define_agents()
            await _serve(process, urls, servers.status, log_path, options)
    except asyncio.CancelledError:
        log.info("process.stopped_while_starting")
    if not options.json:
        print("Stopped.", flush=True)


async def _serve(
    process: Process,
    urls: Urls,
    servers: Callable[[], list[ServerStatus]],
    log_path: Path,
    options: Up,
) -> None:
    config, api = process.config, local_options()
    token = access_token(config).reveal()
    running = asyncio.create_task(supervise(process, _loops(process, api), servers))
    client = Client.at(config.host, config.port, token)
    try:
        if await _listens(client, process.stopping):
            here = instance.here(
                started_at=SystemClock().now(),
                nats_url=urls.nats,
                database_url=urls.database,
                address=(config.host, config.port),
                token=token,
            )
            with instance.announced(config.data_dir, here):
                _welcome(process, api, log_path, options)
                await running
        else:
            await running
    finally:
        process.stopping.set()
        await running


def _loops(process: Process, api: ApiOptions) -> dict[str, Loop]:
    loops: dict[str, Loop] = {}
    for name in registry.SERVICES:
        if name != "api":
            loops |= registry.build(name, process)
    return loops | dict(api_loops.build(process, options=api))


async def _listens(client: Client, stopping: asyncio.Event) -> bool:
    """Wait until the interface answers; False when we are asked to stop before."""
    deadline = perf_counter() + READY_S
    while not stopping.is_set():
        try:
            await asyncio.to_thread(client.get, "/healthz")
        except Transient:
            if perf_counter() > deadline:
                raise
            await asyncio.sleep(POLL_S)
        else:
            return True
    return False


def _welcome(process: Process, api: ApiOptions, log_path: Path, options: Up) -> None:
    config = process.config
    seconds = round(perf_counter() - STARTED, 2)
    address = f"http://{config.host}:{config.port}"
    link = api.link(config, whose=people.login()) or address
    log.info("process.ready", seconds=seconds, model=process.choice.model)
    if options.json:
        output.line(
            {
                "event": "ready",
                "pid": process.pid,
                "url": address,
                "link": link,
                "model": process.choice.model,
                "why": process.choice.why,
                "sandbox": process.sandbox_summary,
                "recall": process.embedder.standing,
                "data_dir": config.data_dir.absolute(),
                "log": log_path.absolute(),
                "seconds": seconds,
            }
        )
        return
    version = importlib.metadata.version("penstock")
    rows = (
        ("Web", f"{link}  (works once; the page stays signed in)"),
        ("Chat", f"{program()} chat{_place(options)}"),
        ("Model", process.choice.why),
        ("Sandbox", process.sandbox_summary),
        ("Recall", process.embedder.standing),
        ("Data", f"{config.data_dir.absolute()}"),
        ("Log", f"{log_path.absolute()}"),
    )
    print(f"Penstock {version}: agents for teams on an event log\n")
    for name, text in rows:
        print(f"  {name:<9}{text}")
    print(f"\nReady after {seconds:.1f} s. Ctrl-C stops it; nothing is lost.", flush=True)


def _place(options: Up) -> str:
    """Return what other commands must be told to find this installation."""
    return f" --data-dir {shlex.quote(str(options.data_dir))}" if options.data_dir else ""
