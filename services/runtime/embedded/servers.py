"""The servers that an installation uses: its own, or embedded ones."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal

from services.runtime.config import Config
from services.runtime.embedded.lock import exclusive
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.embedded.postgres import EmbeddedPostgres
from services.runtime.embedded.server import EmbeddedServer, State
from services.runtime.secret import Secret


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the servers are; not shown, because addresses carry passwords."""

    nats: str = field(repr=False)
    database: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How one server is, for `penstock status`."""

    name: Literal["nats", "postgres"]
    state: State | Literal["external"]
    pid: int | None = None
    restarts: int = 0
    """Times it died and was restarted since we started it."""


class Servers:
    """NATS and Postgres for one installation; embedded where `config` names no address.

    Entering starts what is to be started, both at once, and raises `DataDirectoryInUse` or
    `ServerFailed`; leaving stops it. Nothing is started or locked when both are external.
    """

    def __init__(self, config: Config) -> None:
        data_dir = config.data_dir
        self._data_dir = data_dir
        self._nats = config.nats_url or EmbeddedNats(data_dir / "nats", sync=config.log.sync)
        self._postgres = config.database_url or EmbeddedPostgres(data_dir / "postgres")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Urls:
        async with AsyncExitStack() as stack:
            if servers := self._embedded():
                stack.enter_context(exclusive(self._data_dir))
                stack.push_async_callback(_together, [server.stop for server in servers])
                await _together([server.keep for server in servers])
            self._stack = stack.pop_all()
        return Urls(nats=_url(self._nats), database=_url(self._postgres))

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def status(self) -> list[ServerStatus]:
        """Return how each server is now."""
        return [_status("nats", self._nats), _status("postgres", self._postgres)]

    def _embedded(self) -> list[EmbeddedServer]:
        servers = (self._nats, self._postgres)
        return [server for server in servers if isinstance(server, EmbeddedServer)]


def _url(server: EmbeddedServer | Secret) -> str:
    return server.url if isinstance(server, EmbeddedServer) else server.reveal()


def _status(name: Literal["nats", "postgres"], server: EmbeddedServer | Secret) -> ServerStatus:
    if isinstance(server, Secret):
        return ServerStatus(name, "external")
    return ServerStatus(name, server.state, server.pid, server.restarts)


async def _together(calls: Sequence[Callable[[], Coroutine[None, None, None]]]) -> None:
    """Await all `calls` at once; the first that fails cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(call())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
