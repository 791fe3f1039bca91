"""The HTTP server, inside our event loop: no signals of its own, no ticking while it is idle."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from litestar.types import ASGIApp

from services.errors import Permanent

GRACE_S: Final = 3  # for answers under way when we stop; streams end by themselves
KEEP_ALIVE_S: Final = 65  # longer than proxies keep theirs: they never use one we just closed
BACKLOG: Final = 512


class CannotListen(Permanent):
    """The address cannot be listened on."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections on `host` and `port`.

    Raises:
        CannotListen: names the setting to change.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::"
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotListen(
            f"cannot listen on {host} port {port}: {reason}. Stop what uses it, or choose another "
            "with PENSTOCK_PORT (`port` in penstock.toml; the address is `host`)"
        ) from error
    # Connections inherit it. Without it the second part of an answer waits 40 ms for the client to
    # acknowledge the first, and asyncio does not set it where a socket does not name its protocol.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def serve(app: ASGIApp, listener: socket.socket, stopping: asyncio.Event) -> None:
    """Answer requests until `stopping`, then let those under way end."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # it would need a tick every second; the entrance adds it
        proxy_headers=False,  # nobody may tell us where a request comes from
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config, stopping)
    try:
        await server.serve(sockets=[listener])
    finally:
        server.close()
        listener.close()


class _Server(uvicorn.Server):
    """Uvicorn, led by an event of ours instead of by signals and a clock."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self.servers: list[asyncio.base_events.Server] = []
        self._stopping = stopping

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end; the original looks ten times a second."""
        await self._stopping.wait()

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.close()
