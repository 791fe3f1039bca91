"""The whole product in one process, spoken to over real HTTP.

portal       shared by a module; bring conversations of your own
new_portal   call it: `await new_portal(PENSTOCK_API_TOKEN="x", options=ApiOptions())`
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import httpx
import msgspec
import psycopg
import pytest_asyncio
from psycopg import sql

from schemas.base import Event
from schemas.subjects import Subject
from services.api import loops
from services.api.options import ApiOptions, access_token
from services.runtime import registry, settings
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.embedded.ports import choose
from services.runtime.embedded.servers import Urls
from services.runtime.main import supervise
from services.runtime.process import Process, opened
from tests.support.servers import SYNC, until

BUSINESS = ("projector", "channel", "branch", "worker", "ingest", "scheduler")
UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=20)
names = count(1)


@dataclass(frozen=True)
class Heard:
    """One server-sent event."""

    name: str
    data: dict
    id: int | None = None


@dataclass
class Stream:
    """An open stream, and everything heard on it."""

    response: httpx.Response
    heard: list[Heard] = field(default_factory=list)
    comments: int = 0
    ended: bool = False

    async def until(self, name: str, *, timeout_s: float = 20.0, **data: object) -> Heard:
        """Return the first event behind those asked for before that is called this."""
        async with asyncio.timeout(timeout_s):
            async for event in self.events():
                if event.name == name and data.items() <= event.data.items():
                    return event
        raise AssertionError(f"the stream ended before {name}; heard {self.names}")

    async def events(self) -> AsyncIterator[Heard]:
        """Yield what comes, until the server ends it."""
        lines = self._lines
        fields: dict[str, str] = {}
        async for line in lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                key, _, value = line.partition(": ")
                fields[key] = value
            elif "data" in fields:
                id_ = int(fields["id"]) if "id" in fields else None
                event = Heard(fields["event"], msgspec.json.decode(fields["data"]), id_)
                self.heard.append(event)
                fields = {}
                yield event
            else:
                fields = {}
        self.ended = True

    @property
    def names(self) -> list[str]:
        """Names of what was heard, in order."""
        return [event.name for event in self.heard]

    def __post_init__(self) -> None:
        self._lines = self.response.aiter_lines()


@dataclass
class Portal:
    """A running installation."""

    process: Process
    http: httpx.AsyncClient
    options: ApiOptions
    running: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.config.port}"

    @property
    def token(self) -> str:
        return access_token(self.process.config).reveal()

    def place(self, conversation: str, agent: str = "main") -> str:
        return f"/api/v1/agents/{agent}/conversations/{conversation}"

    def subject(self, conversation: str, agent: str = "main") -> Subject:
        return Subject("default", agent, "portal", conversation)

    async def say(self, conversation: str, text: str, **fields: object) -> httpx.Response:
        body = {"author": "ana", "text": text, **fields}
        return await self.http.post(f"{self.place(conversation)}/messages", json=body)

    async def state(self, conversation: str) -> dict:
        return (await self.http.get(self.place(conversation))).raise_for_status().json()

    async def append(self, subject: Subject, event: Event, **envelope: object) -> int:
        """Put an event on the log, as one of our services would."""
        writer = self.process.writer("test")
        return await writer.log.append(str(subject), writer.seal(event, **envelope))

    @asynccontextmanager
    async def stream(
        self, conversation: str, *, after: int | None = None, **headers: str
    ) -> AsyncIterator[Stream]:
        query = {} if after is None else {"after": after}
        path = f"{self.place(conversation)}/stream"
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.stream("GET", path, params=query, headers=given) as response:
            assert response.status_code == 200, await response.aread()
            yield Stream(response)

    async def settled(self, conversation: str, text: str) -> list[Heard]:
        """Say something and return what is heard until the conversation rests."""
        receipt = (await self.say(conversation, text)).raise_for_status().json()
        async with self.stream(conversation, after=receipt["seq"] - 1) as stream:
            while (await stream.until("settled")).data["seq"] < receipt["seq"]:
                pass
            return stream.heard

    async def projected(self, *, timeout_s: float = 10.0) -> None:
        """Wait until every read model is at the end of the log."""

        async def at_the_end():
            with suppress(httpx.HTTPError):
                status = (await self.http.get("/api/v1/status")).json()
                return status["lag"] and not any(status["lag"].values())

        await until(at_the_end, timeout_s=timeout_s)


@asynccontextmanager
async def opened_portal(
    directory, urls: Urls, *, options: ApiOptions | None = None, services=BUSINESS, **variables
) -> AsyncIterator[Portal]:
    """Run everything on given servers until the block ends."""
    options = options or ApiOptions(local=True, link_key="one-time")
    environment = {
        "PENSTOCK_DATA_DIR": str(directory),
        "PENSTOCK_PORT": str(choose()),
        "PENSTOCK_CHANNEL_RETRIGGER_DEBOUNCE_MS": "20",
        "PENSTOCK_PERSISTENCE_ENABLED": "false",  # nothing happens that the test did not ask for
        "PENSTOCK_EMBEDDINGS_FETCH": "false",
        **variables,
    }
    config = settings.load(environ=environment)
    async with opened(config, urls) as process:
        await process.define_agents()
        running = {}
        for name in services:
            running |= registry.build(name, process)
        running |= loops.build(process, options)
        task = asyncio.create_task(supervise(process, running))
        base = f"http://127.0.0.1:{config.port}"
        try:
            async with httpx.AsyncClient(base_url=base, timeout=30, limits=UNLIMITED) as http:
                portal = Portal(process, http, options, task)
                if "projector" in services:
                    await until(lambda: _ready(http), timeout_s=30)
                yield portal
        finally:
            process.stopping.set()
            await task


async def _ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


@asynccontextmanager
async def new_database(postgres_server) -> AsyncIterator[str]:
    """Make a database for one portal."""
    name = f"portal_{next(names)}"
    template, _, _ = postgres_server.url.rpartition("/")
    maintenance = f"{template}/postgres"
    async with await psycopg.AsyncConnection.connect(maintenance, autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE penstock").format(sql.Identifier(name))
        await connection.execute(create)
        try:
            yield f"{template}/{name}"
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            await connection.execute(drop)


@asynccontextmanager
async def new_nats(directory) -> AsyncIterator[str]:
    """Start a server for one portal."""
    server = EmbeddedNats(directory, sync=SYNC)
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


@pytest_asyncio.fixture(name="portal", scope="module", loop_scope="module")
async def shared_portal(postgres_server, tmp_path_factory):
    directory = tmp_path_factory.mktemp("portal")
    async with (
        new_nats(directory / "nats") as nats_url,
        new_database(postgres_server) as database_url,
        opened_portal(directory, Urls(nats=nats_url, database=database_url)) as portal,
    ):
        yield portal


@pytest_asyncio.fixture(name="new_portal", loop_scope="module")
async def portal_maker(postgres_server, tmp_path):
    async with AsyncExitStack() as stack:

        async def open_(**how) -> Portal:
            directory = tmp_path / f"portal{next(names)}"
            nats_url = await stack.enter_async_context(new_nats(directory / "nats"))
            database_url = await stack.enter_async_context(new_database(postgres_server))
            urls = Urls(nats=nats_url, database=database_url)
            return await stack.enter_async_context(opened_portal(directory, urls, **how))

        yield open_
