"""What callers see while a server is away, full, or the port taken."""

import asyncio
import signal
import socket
from contextlib import suppress

import httpx
import msgspec
import pytest

from services.api import loops
from services.api.server import CannotListen, listen, serve
from services.runtime import database, settings
from services.runtime.embedded.ports import choose
from services.runtime.embedded.servers import Urls
from services.runtime.jetstream import connection
from services.runtime.process import opened
from tests.support.portal import opened_portal, portal_maker  # noqa: F401 - found by name
from tests.support.servers import kill, until

pytestmark = pytest.mark.integration


def fault(response):
    return response.status_code, response.json()["error"]["code"]


@pytest.fixture
async def own_portal(own_nats, own_postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_S", 0.5)
    urls = Urls(nats=own_nats.url, database=own_postgres.url)
    async with opened_portal(tmp_path / "portal", urls) as portal:
        yield portal


async def ready(portal):
    answer = (await portal.http.get("/readyz")).json()
    return [check["name"] for check in answer["checks"] if not check["ok"]]


async def test_while_the_database_is_away_talk_goes_on(own_portal, own_postgres):
    portal = own_portal
    await portal.settled("talk", "hello")
    await kill(own_postgres)
    heard = await portal.settled("talk", "hello again")
    assert "reply" in [event.name for event in heard]
    for path in ("", "/talk/messages"):
        response = await portal.http.get(f"/api/v1/agents/main/conversations{path}")
        assert fault(response) == (503, "read_models_unavailable")
        assert int(response.headers["retry-after"]) > 0
    assert (await portal.state("talk"))["settled"] is True
    assert (await portal.http.get("/readyz")).status_code == 503
    assert await ready(portal) == ["database", "projector"]
    assert 'penstock_up{part="database"} 0.0' in (await portal.http.get("/metrics")).text
    assert (await portal.http.get("/healthz")).status_code == 200
    await own_postgres.start()
    await portal.projected(timeout_s=60)
    page = (await portal.http.get(f"{portal.place('talk')}/messages")).json()
    assert [item["text"] for item in page["items"] if item["role"] == "person"] == [
        "hello",
        "hello again",
    ]


async def test_while_the_log_is_away_nothing_is_acknowledged(own_portal, own_nats, monkeypatch):
    monkeypatch.setattr(connection, "BUDGET_S", 0.5)
    portal = own_portal
    await portal.settled("away", "hello")
    async with portal.stream("away", after=0) as stream:
        await stream.until("settled")
        await kill(own_nats)
        response = await portal.say("away", "are you there?", id="m-1")
        assert fault(response) == (503, "log_unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert (await portal.http.get(f"{portal.place('away')}/stream")).status_code == 503
        assert await ready(portal) == ["log", "projector"]
        status = (await portal.http.get("/api/v1/status")).json()
        assert (status["ready"], status["processes"]) == (False, [])
        await own_nats.start()
        monkeypatch.undo()
        receipt = (await portal.say("away", "are you there?", id="m-1")).json()
        assert (await stream.until("message", timeout_s=40)).id == receipt["seq"]
        await stream.until("settled")
    assert stream.names.count("message") == 2


async def test_a_full_log_says_so_and_acknowledges_nothing(own_portal):
    portal = own_portal
    asked = portal.process.connection
    info = msgspec.json.decode((await asked.request("$JS.API.STREAM.INFO.EVENTS", b"")).data)
    await asked.ask(
        "$JS.API.STREAM.UPDATE.EVENTS",
        msgspec.json.encode({**info["config"], "max_bytes": info["state"]["bytes"]}),
    )
    response = await portal.say("full", "hello")
    assert fault(response) == (507, "log_full")
    assert (await portal.state("full"))["seq"] == 0
    await asked.ask(
        "$JS.API.STREAM.UPDATE.EVENTS",
        msgspec.json.encode({**info["config"], "max_bytes": -1}),
    )
    assert (await portal.say("full", "hello")).status_code == 202


async def test_before_the_projector_has_begun_reads_are_away_and_nothing_is_broken(
    own_nats, own_postgres, tmp_path
):
    urls = Urls(nats=own_nats.url, database=own_postgres.url)
    async with opened_portal(tmp_path, urls, services=("channel",)) as portal:
        for path in ("", "/c/messages"):
            response = await portal.http.get(f"/api/v1/agents/main/conversations{path}")
            assert fault(response) == (503, "read_models_unavailable")
        assert await ready(portal) == ["database", "projector"]
        heard = await portal.settled("c", "hello")
        assert "reply" in [event.name for event in heard]


# -- the server --------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_with_the_setting_to_change():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"port {port}.*PENSTOCK_PORT"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host.invalid", "203.0.113.1"])
def test_an_address_that_is_not_ours_is_said(host):
    with pytest.raises(CannotListen, match="`host`"):
        listen(host, choose())


async def test_a_taken_port_stops_the_start(own_nats, own_postgres, tmp_path):
    urls = Urls(nats=own_nats.url, database=own_postgres.url)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(CannotListen):
            async with opened_portal(tmp_path, urls, services=(), PENSTOCK_PORT=port):
                pass


def test_no_answer_waits_for_the_one_before_to_be_acknowledged():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_loop_that_failed_listens_again(own_nats, own_postgres, tmp_path):
    urls = Urls(nats=own_nats.url, database=own_postgres.url)
    port = choose()
    variables = {"PENSTOCK_DATA_DIR": str(tmp_path), "PENSTOCK_PORT": str(port)}
    async with (
        opened(settings.load(environ=variables), urls) as process,
        httpx.AsyncClient() as http,
    ):

        async def answered():
            with suppress(httpx.HTTPError):
                return (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200

        run = loops.build(process)["api"]
        first = asyncio.create_task(run())
        await until(answered)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert not await answered()
        again = asyncio.create_task(run())
        await until(answered)
        process.stopping.set()
        await again


async def test_connections_wait_from_the_moment_that_the_port_is_ours():
    """A browser that is early waits for its answer, and is not refused."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    stopping = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with httpx.AsyncClient() as http:
        early = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/"))
        serving = asyncio.create_task(serve(app, listener, stopping))
        assert (await early).status_code == 204
        stopping.set()
        await asyncio.wait_for(serving, 2)
        with pytest.raises(httpx.ConnectError):
            await http.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("how", ["stopping", "cancelled"])
async def test_an_answer_that_never_ends_does_not_hold_the_end_up(how, caplog):
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    stopping, asked, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with httpx.AsyncClient() as http:
        serving = asyncio.create_task(serve(app, listener, stopping))
        asking = asyncio.create_task(http.get(url))
        await asked.wait()
        if how == "stopping":
            stopping.set()
            await asyncio.wait_for(serving, 6)
        else:
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
        with pytest.raises(httpx.HTTPError):
            (await asking).raise_for_status()
        if how == "stopping":
            await asyncio.wait_for(left.wait(), 1)


async def test_signals_are_left_to_the_process():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    stopping = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    serving = asyncio.create_task(serve(app, listener, stopping))
    async with httpx.AsyncClient() as http:

        async def answered():
            return (await http.get(url)).status_code == 204

        await until(answered)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    stopping.set()
    await serving
