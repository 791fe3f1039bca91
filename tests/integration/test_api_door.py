"""Who gets in over real HTTP: programs, browsers, pages of other sites, other machines."""

import asyncio

import httpx
import pytest
import pytest_asyncio

from services.api.options import ApiOptions
from tests.support.portal import portal_maker, shared_portal  # noqa: F401 - found by name

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

AGENTS = "/api/v1/agents"
MESSAGES = "/api/v1/agents/main/conversations/door/messages"
HELLO = {"author": "ana", "text": "hello"}
SAME_ORIGIN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}


def code(response):
    return response.status_code, response.json()["error"]["code"]


async def test_curl_needs_nothing(portal):
    assert (await portal.http.get(AGENTS)).status_code == 200
    assert (await portal.http.post(MESSAGES, json=HELLO)).status_code == 202


async def test_the_token_of_the_installation_comes_in(portal):
    headers = {"authorization": f"Bearer {portal.token}", **SAME_ORIGIN}
    assert (await portal.http.get(AGENTS, headers=headers)).status_code == 200


async def test_dns_rebinding_reaches_nothing(portal):
    """evil.example now resolves to 127.0.0.1: for the browser, our answers are its own."""
    port = portal.process.config.port
    rebound = {"host": f"evil.example:{port}"}
    for path in ("/", AGENTS, "/metrics", "/healthz", f"/?key={portal.options.link_key}"):
        assert code(await portal.http.get(path, headers=rebound)) == (403, "forbidden")
    posted = await portal.http.post(
        MESSAGES, json=HELLO, headers={**rebound, "origin": f"http://evil.example:{port}"}
    )
    assert code(posted) == (403, "forbidden")


async def test_no_page_of_another_site_can_say_anything(portal):
    path = f"{portal.place('forged')}/messages"
    simple = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b")
    for media_type in (*simple, "application/json"):
        response = await portal.http.post(
            path,
            content=b'{"author": "ana", "text": "forged"}',
            headers={"content-type": media_type, "origin": "http://evil.example"},
        )
        assert code(response) == (403, "forbidden"), media_type
    for media_type in simple:  # as from a browser that tells no origin
        response = await portal.http.post(
            path, content=b'{"author": "ana"}', headers={"content-type": media_type}
        )
        assert code(response) == (415, "not_json"), media_type
    preflight = await portal.http.options(
        path,
        headers={"origin": "http://evil.example", "access-control-request-method": "POST"},
    )
    assert preflight.status_code == 403
    assert "access-control-allow-origin" not in preflight.headers
    assert (await portal.state("forged"))["seq"] == 0


async def test_no_page_on_another_port_of_this_machine_can_read(portal):
    headers = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}
    assert code(await portal.http.get(AGENTS, headers=headers)) == (403, "forbidden")


async def test_the_link_gives_a_browser_its_session_once(new_portal):
    portal = await new_portal()
    async with httpx.AsyncClient(base_url=portal.url, headers=SAME_ORIGIN) as browser:
        page = await browser.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert code(await browser.get(AGENTS)) == (401, "unauthorized")
        link = portal.options.link(portal.process.config)
        assert code(await browser.get(AGENTS, params={"key": "one-time"})) == (401, "unauthorized")
        opened = await browser.get(link)
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert (await browser.get(AGENTS)).status_code == 200
        again = await browser.get(link)
        assert again.headers["location"] == "/#spent"
        assert "set-cookie" not in again.headers
    async with httpx.AsyncClient(base_url=portal.url, headers=SAME_ORIGIN) as other:
        used = await other.get(link)
        assert "set-cookie" not in used.headers
        assert (await other.get(AGENTS)).status_code == 401


async def test_a_wrong_key_spends_nothing(new_portal):
    portal = await new_portal()
    for key in ("", "wrong", "one-tim", "\u0000", "é"):
        tried = await portal.http.get("/", params={"key": key})
        assert tried.headers["location"] == "/#spent"
    assert "set-cookie" in (await portal.http.get("/?key=one-time")).headers


async def test_of_two_who_open_the_link_at_once_one_gets_in(new_portal):
    portal = await new_portal()
    answers = await asyncio.gather(*(portal.http.get("/?key=one-time") for _ in range(8)))
    assert sum("set-cookie" in answer.headers for answer in answers) == 1


async def test_the_token_gives_a_browser_its_session_too(portal):
    origin = {"origin": portal.url, **SAME_ORIGIN}
    async with httpx.AsyncClient(base_url=portal.url, headers=origin) as browser:
        refused = await browser.post("/api/v1/session", headers={"authorization": "Bearer wrong"})
        assert code(refused) == (401, "unauthorized")
        signed_in = await browser.post(
            "/api/v1/session", headers={"authorization": f"Bearer {portal.token}"}
        )
        assert signed_in.status_code == 204
        assert "Secure" not in signed_in.headers["set-cookie"]
        assert (await browser.get(AGENTS)).status_code == 200
        assert (await browser.post(MESSAGES, json=HELLO)).status_code == 202


async def test_served_to_others_everything_needs_the_token(new_portal):
    portal = await new_portal(options=ApiOptions(), PENSTOCK_API_TOKEN="hunter2")
    for path in (AGENTS, "/metrics", "/api/v1/status", "/api/v1/openapi.json", MESSAGES, "/x"):
        for headers in ({}, {"authorization": "Bearer hunter3"}, {"authorization": "hunter2"}):
            response = await portal.http.get(path, headers=headers)
            assert code(response) == (401, "unauthorized"), path
            assert response.headers["www-authenticate"] == "Bearer"
    headers = {"authorization": "Bearer hunter2", "host": "penstock.example"}
    assert (await portal.http.get(AGENTS, headers=headers)).status_code == 200
    assert (await portal.http.post(MESSAGES, json=HELLO, headers=headers)).status_code == 202
    for path in ("/", "/healthz", "/readyz"):
        assert (await portal.http.get(path)).status_code == 200
    assert not (portal.process.config.data_dir / "api-token").exists()


async def test_behind_tls_the_session_is_for_tls_alone(new_portal):
    portal = await new_portal(options=ApiOptions(), PENSTOCK_API_TOKEN="hunter2")
    headers = {
        "authorization": "Bearer hunter2",
        "host": "penstock.example",
        "origin": "https://penstock.example",
    }
    signed_in = await portal.http.post("/api/v1/session", headers=headers)
    assert signed_in.headers["set-cookie"].endswith("; Secure")


async def test_every_answer_protects_itself_in_a_browser(portal):
    for path in ("/", AGENTS, "/nowhere", "/healthz", "/metrics"):
        headers = (await portal.http.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["date"]
        assert "server" not in headers
    page = await portal.http.get("/")
    assert "script-src 'sha256-" in page.headers["content-security-policy"]


async def test_errors_have_one_shape(portal):
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("DELETE", AGENTS, 405),
        ("GET", "/api/v1/agents/main/conversations/c/files/x", 404),
    ):
        response = await portal.http.request(method, path)
        assert response.status_code == status
        assert set(response.json()["error"]) == {"code", "message"}


# -- pages of other origins --------------------------------------------------------------------

FRIEND = "https://chat.example"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "cors",
}
FROM_A_PAGE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}


def told(response):
    """Return what a browser is told about other origins."""
    return {
        name: value
        for name, value in response.headers.items()
        if name.startswith("access-control-")
    }


@pytest_asyncio.fixture(loop_scope="module")
async def befriended(new_portal):
    return await new_portal(PENSTOCK_API_ALLOWED_ORIGINS=f"{FRIEND},http://localhost:5173")


async def test_a_browser_may_call_for_a_page_of_an_allowed_origin(befriended):
    portal = befriended
    path = f"{portal.place('friendly')}/messages"
    origin = {"origin": FRIEND}
    asked = await portal.http.options(path, headers={**origin, **PREFLIGHT})
    assert (asked.status_code, asked.content) == (204, b"")
    allowed = told(asked)
    assert allowed["access-control-allow-origin"] == FRIEND
    assert allowed["access-control-allow-credentials"] == "true"
    assert "POST" in allowed["access-control-allow-methods"].split(", ")
    names = {name.lower() for name in allowed["access-control-allow-headers"].split(", ")}
    assert {"authorization", "content-type", "last-event-id"} <= names
    assert int(allowed["access-control-max-age"]) > 0
    assert asked.headers["vary"] == "Origin"
    bearer = {"authorization": f"Bearer {portal.token}"}
    said = await portal.http.post(path, json=HELLO, headers={**origin, **FROM_A_PAGE, **bearer})
    read = await portal.http.get(AGENTS, headers={**origin, **FROM_A_PAGE, **bearer})
    assert (said.status_code, read.status_code) == (202, 200)
    for answer in (said, read):
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "Origin"


async def test_an_allowed_page_can_follow_a_conversation(befriended):
    portal = befriended
    headers = {"origin": FRIEND, **FROM_A_PAGE, "authorization": f"Bearer {portal.token}"}
    path = f"{portal.place('followed')}/stream"
    async with portal.http.stream("GET", path, headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["access-control-allow-origin"] == FRIEND


async def test_an_allowed_page_needs_the_token_like_everybody_and_can_read_that_it_does(befriended):
    for headers in ({}, {"authorization": "Bearer wrong"}):
        answer = await befriended.http.get(
            AGENTS, headers={"origin": FRIEND, **FROM_A_PAGE, **headers}
        )
        assert code(answer) == (401, "unauthorized")
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert "WWW-Authenticate" in answer.headers["access-control-expose-headers"]


async def test_a_page_that_is_not_allowed_is_told_nothing(befriended):
    portal = befriended
    bearer = {"authorization": f"Bearer {portal.token}"}
    for origin in (
        "https://evil.example",
        "http://chat.example",
        "https://chat.example.evil.example",
        "https://chat.example:8443",
        "null",
    ):
        asked = await portal.http.options(MESSAGES, headers={"origin": origin, **PREFLIGHT})
        read = await portal.http.get(AGENTS, headers={"origin": origin, **FROM_A_PAGE, **bearer})
        for answer in (asked, read):
            assert code(answer) == (403, "forbidden"), origin
            assert told(answer) == {}
    program = await portal.http.get(AGENTS)
    assert (program.status_code, told(program)) == (200, {})


async def test_where_no_origin_is_allowed_nobody_is_told_anything(portal):
    for headers in ({}, {"origin": FRIEND, **PREFLIGHT}):
        for method in ("OPTIONS", "GET"):
            answer = await portal.http.request(method, AGENTS, headers=headers)
            assert told(answer) == {}
            assert "vary" not in answer.headers


async def test_an_allowed_origin_does_not_excuse_a_wrong_name(befriended):
    rebound = {"host": "evil.example", "origin": FRIEND}
    asked = await befriended.http.options(MESSAGES, headers={**rebound, **PREFLIGHT})
    assert code(asked) == (403, "forbidden")
    bearer = {"authorization": f"Bearer {befriended.token}"}
    assert code(await befriended.http.get(AGENTS, headers={**rebound, **bearer})) == (
        403,
        "forbidden",
    )


async def test_only_a_preflight_request_needs_no_credential(befriended):
    plain = await befriended.http.options(MESSAGES, headers={"origin": FRIEND})
    assert code(plain) == (401, "unauthorized")
