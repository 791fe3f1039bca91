"""One server process that lives as long as this program does.

Starts:    on a free port, the same one as last time while nobody else took it
Dies:      with us, by the parent-death signal where there is one; an orphan of the same directory
           is found by its pid file and its command line, and stopped, at the next start
Restarts:  when it dies or is stuck while it is kept: on the same port, with growing delays
"""

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import ClassVar, Final, Literal, Self

import structlog

from services.errors import ServiceError
from services.runtime.cancelling import end
from services.runtime.embedded import orphans, ports

LAUNCH: Final = Path(__file__).with_name("launch.py")
POLL_S: Final = 0.01  # a server is ready within tens of milliseconds
START_S: Final = 120.0  # recovery after a crash reads the whole journal before it is ready
PORT_ATTEMPTS: Final = 5  # somebody may take a free port before our server does
WATCH_S: Final = 2.0
FIRST_DELAY_S: Final = 0.1
LAST_DELAY_S: Final = 5.0  # a disk that was full is noticed soon after it is not
STABLE_S: Final = 10.0  # a server that ran as long does not owe its last crash a delay
LOG_BYTES: Final = 10_000_000  # a server's log is moved aside at a start when it is larger
TAIL_BYTES: Final = 2_000

State = Literal["stopped", "starting", "running", "restarting"]

log = structlog.get_logger()


class ServerFailed(ServiceError):
    """An embedded server did not start."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute."""

    arguments: Sequence[str]
    """The program's absolute path first."""
    account: str = "same"
    """Who runs it; see `launch`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Its whole environment: nothing of ours is passed on, least of all keys."""


class EmbeddedServer(ABC):
    """A server with all its files under one directory, listening on loopback only.

    Start it in a thread that lives as long as it should: the parent-death signal is the thread's.
    """

    name: ClassVar[str]
    death_signal: ClassVar[Signals]
    stop_signals: ClassVar[Sequence[tuple[Signals, float]]]
    """Signals to send in turn, each with the seconds to wait before the next."""

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        self.directory = directory.resolve()
        self.state: State = "stopped"
        self.restarts = 0
        self.port = port or 0
        self._port_is_given = port is not None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Address with credentials, once it is started."""

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.keep()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> str:
        """Start the server, wait until it answers and return its URL.

        Raises:
            ServerFailed: it ended or did not answer; tells the end of its log.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state = "starting"
        try:
            await self._stop_orphan()
            await self._prepare()
            await self._launch_on_a_port()
        except BaseException:
            self.state = "stopped"
            raise
        self.state = "running"
        return self.url

    async def keep(self) -> None:
        """Start the server, and start it again whenever it dies until it is stopped."""
        await self.start()
        self._keeper = asyncio.create_task(self._restart_for_ever(), name=f"keep {self.name}")

    async def stop(self) -> None:
        """Stop the server, by force if need be; does nothing when it does not run."""
        if self._keeper:
            await end(self._keeper)
        self.state = "stopped"
        await self._end()

    async def _restart_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = FIRST_DELAY_S
        while self._process:
            since = loop.time()
            code = await self._ended(self._process)
            self.state = "restarting"
            log.error("server.died", server=self.name, code=code, restarts=self.restarts)
            delay_s = FIRST_DELAY_S if loop.time() - since > STABLE_S else delay_s
            while self.state == "restarting":
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, LAST_DELAY_S)
                await self._try_again()

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Wait until the process ends; end it when it would never work again by itself."""
        watching = asyncio.create_task(self._watch(process))
        try:
            return await process.wait()
        finally:
            await end(watching)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            if self._is_stuck():
                break
        log.error("server.stuck", server=self.name)
        with suppress(ProcessLookupError):
            process.kill()

    async def _try_again(self) -> None:
        try:
            await self._stop_orphan()
            await self._launch()
        except (ServerFailed, OSError) as error:  # OSError: no room for its files or processes
            log.error("server.restart_failed", server=self.name, reason=str(error))  # noqa: TRY400 - no bug
            return
        self.restarts += 1
        self.state = "running"
        log.warning("server.restarted", server=self.name, pid=self.pid)

    @property
    @abstractmethod
    def _pid_file(self) -> Path:
        """The file on whose first line the server writes its process id."""

    @property
    @abstractmethod
    def _marker(self) -> str:
        """The command-line argument by which our server is told from a stranger."""

    @abstractmethod
    async def _prepare(self) -> None:
        """Make every file that the server needs and that does not depend on the port."""

    @abstractmethod
    def _command(self) -> Command:
        """Return how to start it on `self.port`."""

    @abstractmethod
    async def _is_ready(self) -> bool:
        """Return whether our process, and no other, answers on `self.port`."""

    def _is_stuck(self) -> bool:
        """Return whether only a restart would make the server work again."""
        return False

    async def _launch_on_a_port(self) -> None:
        if self._port_is_given:
            if not ports.is_free(self.port):
                raise ServerFailed(f"{self.name}: port {self.port} is taken")
            return await self._launch()
        remembered = self.directory / "port"
        for attempt in range(PORT_ATTEMPTS):
            self.port = ports.remembered(remembered) if attempt == 0 else ports.choose()
            try:
                await self._launch()
            except ServerFailed:
                if ports.is_free(self.port):
                    raise
            else:
                remembered.write_text(str(self.port), encoding="ascii")
                return None
        raise ServerFailed(f"{self.name}: {PORT_ATTEMPTS} ports were taken one after the other")

    async def _launch(self) -> None:
        self._process = await self._spawn(self._command())
        try:
            await self._wait_until_ready(self._process)
        except BaseException:
            await self._end()
            raise

    async def _spawn(
        self, command: Command, stdin: int = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        """Start a program that ends with us and writes to our log file."""
        path = self.directory / f"{self.name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LAUNCH)),
                *(str(os.getpid()), str(int(self.death_signal)), command.account),
                *command.arguments,
                env=dict(command.environment),
                cwd="/",  # an account that we change to may not see our own
                stdin=stdin,
                stdout=output,
                stderr=output,
                start_new_session=True,  # an interrupt from the terminal is ours to handle first
            )

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(START_S):
                while not await self._is_ready():
                    if process.returncode is not None:
                        raise ServerFailed(f"{self.name} ended: {self._log_tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            reason = f"{self.name} does not answer: {self._log_tail()}"
            raise ServerFailed(reason) from None

    def _log_tail(self, most: int = TAIL_BYTES) -> str:
        with (self.directory / f"{self.name}.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read().decode(errors="replace").strip()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for signal, patience_s in self.stop_signals:
            if process.returncode is not None:
                break
            with suppress(ProcessLookupError):
                process.send_signal(signal)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), patience_s)

    async def _stop_orphan(self) -> None:
        pid = orphans.find(self._pid_file, self._marker)
        if pid is None:
            return
        log.warning("server.orphan_found", server=self.name, pid=pid)
        try:
            await orphans.stop(pid, self._marker, self.stop_signals)
        except PermissionError:
            raise ServerFailed(f"{self.name}: process {pid} belongs to another user") from None
