"""Real servers for tests: shared ones, ones to kill, and a cluster.

nats_url         the shared server; bring subjects or streams of your own
empty_nats_url   the same without any stream: for tests that count what is there
database_url     a new database with pgvector, dropped after the test
own_nats, own_postgres       started for one test, which may kill and start them again
nats_cluster     call it: `await nats_cluster(3)`
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from signal import SIGKILL

import nats
import psycopg
import pytest
import pytest_asyncio
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from psycopg import sql

from services.runtime import private
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.embedded.ports import HOST, choose
from services.runtime.embedded.postgres import EmbeddedPostgres
from services.runtime.embedded.server import EmbeddedServer

HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
SYNC = "1m"  # tests kill processes, not machines
databases = count(1)


async def until(condition: Callable[[], Awaitable[object]], *, timeout_s: float = 10.0) -> None:
    """Wait until `condition` returns something true; exceptions of NATS count as not yet."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                if await condition():
                    return
            except (NatsError, JetStreamError, OSError):
                pass
            await asyncio.sleep(0.02)


async def kill(server: EmbeddedServer) -> None:
    """Kill the process of `server` as a crash would; `server.start()` starts it again."""
    process = server._process
    os.kill(process.pid, SIGKILL)
    await process.wait()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory):
    server = EmbeddedNats(tmp_path_factory.mktemp("nats"), sync=SYNC)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def nats_url(nats_server):
    return nats_server.url


@pytest.fixture
async def empty_nats_url(nats_url):
    client = await nats.connect(nats_url)
    streams = client.jetstream()
    for info in await streams.streams_info():
        await streams.delete_stream(info.config.name)
    await client.close()
    return nats_url


@pytest.fixture
async def own_nats(tmp_path):
    server = EmbeddedNats(tmp_path / "own-nats", sync=SYNC)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory):
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), settings=HASTY)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def database_url(postgres_server):
    name = f"test_{next(databases)}"
    template, _, _ = postgres_server.url.rpartition("/")
    maintenance = f"{template}/postgres"
    async with await psycopg.AsyncConnection.connect(maintenance, autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE penstock").format(sql.Identifier(name))
        await connection.execute(create)
        yield f"{template}/{name}"
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        await connection.execute(drop)


@pytest.fixture
async def own_postgres(tmp_path):
    server = EmbeddedPostgres(tmp_path / "own-postgres", settings=HASTY)
    await server.start()
    yield server
    await server.stop()


@dataclass(frozen=True)
class NatsCluster:
    """Servers that replicate streams among themselves."""

    servers: list[EmbeddedNats]

    @property
    def url(self) -> str:
        """All servers, separated by commas."""
        return ",".join(server.url for server in self.servers)

    async def leader(self, stream: str) -> EmbeddedNats:
        """Return the server that leads `stream`."""
        client = await nats.connect(self.url.split(","))
        try:
            name = (await client.jetstream().stream_info(stream)).cluster.leader
        finally:
            await client.close()
        return next(server for server in self.servers if server._server_name == name)

    async def has_leader(self) -> bool:
        """Return whether JetStream answers, which takes an elected leader."""
        client = await nats.connect(self.url.split(","), allow_reconnect=False)
        try:
            await client.jetstream(timeout=0.5).account_info()
        finally:
            await client.close()
        return True


async def start_cluster(stack: AsyncExitStack, directory: Path, size: int = 3) -> NatsCluster:
    """Start servers that know one another; `stack` stops them."""
    routes = [choose() for _ in range(size)]
    peers = ", ".join(f'"nats://{HOST}:{port}"' for port in routes)
    servers = []
    for number, port in enumerate(routes, 1):
        place = directory / f"n{number}"
        place.mkdir()
        private.write(place / "password", "cluster")
        block = f'cluster {{ name: c, listen: "{HOST}:{port}", routes: [{peers}] }}'
        server = EmbeddedNats(place, sync=SYNC, name=f"n{number}", extra=block)
        stack.push_async_callback(server.stop)
        servers.append(server)
    await asyncio.gather(*(server.start() for server in servers))
    cluster = NatsCluster(servers)
    await until(cluster.has_leader, timeout_s=30)
    return cluster


@pytest.fixture
async def nats_cluster(tmp_path):
    async with AsyncExitStack() as stack:

        async def start(size: int = 3) -> NatsCluster:
            return await start_cluster(stack, tmp_path, size)

        yield start
