"""Forks over HTTP: begun, followed, listed, spoken to, compared."""

import pytest

from tests.support.portal import shared_portal  # noqa: F401 - found by name

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

MAIN = "/api/v1/agents/main"
FORKS = f"{MAIN}/forks"


async def talk(portal, conversation, *texts):
    """Let Ana say these, each when the one before was answered."""
    for text in texts:
        async with portal.stream(conversation) as stream:
            sent = (await portal.say(conversation, text)).raise_for_status().json()
            while (await stream.until("settled")).data["seq"] < sent["seq"]:
                pass


async def begin(portal, **fields):
    return await portal.http.post(FORKS, json=fields)


async def settled(portal, name):
    async with portal.http.stream("GET", f"{FORKS}/{name}/stream") as response:
        async for line in response.aiter_lines():
            if line == "event: settled":
                return


async def test_a_fork_is_begun_answered_and_spoken_to(portal):
    await talk(portal, "weather", "remember that the sky is blue", "hello")
    answer = await begin(portal, of="weather", at="message 2", name="rain")
    begun = answer.raise_for_status().json()
    assert answer.status_code == 201
    assert (begun["of"], begun["answers"]) == ("portal/weather", "unanswered")
    await settled(portal, "rain")
    await portal.projected()
    said = (await portal.http.get(f"{FORKS}/rain/messages")).raise_for_status().json()["items"]
    assert [item["role"] for item in said] == ["agent"]
    body = {"author": "ana", "text": "hello again"}
    (await portal.http.post(f"{FORKS}/rain/messages", json=body)).raise_for_status()
    await settled(portal, "rain")
    state = (await portal.http.get(f"{FORKS}/rain/")).raise_for_status().json()
    assert (state["conversation"], state["settled"]) == ("rain", True)
    assert (await begin(portal, of="weather", at="message 2", name="rain")).json() == begun


async def test_forks_are_listed_apart_from_conversations(portal):
    await talk(portal, "listed", "hello")
    (await begin(portal, of="portal/listed", message="hello", name="apart")).raise_for_status()
    await settled(portal, "apart")
    await portal.projected()
    forks = (await portal.http.get(FORKS)).raise_for_status().json()["items"]
    (mine,) = [item for item in forks if item["conversation"] == "apart"]
    assert (mine["adapter"], mine["fork_of"]) == ("fork", "portal/listed")
    listed = (await portal.http.get(f"{MAIN}/conversations")).json()["items"]
    assert "apart" not in [item["conversation"] for item in listed]


async def test_two_conversations_are_compared(portal):
    await talk(portal, "compared", "hello")
    (await begin(portal, of="compared", at="message 1", name="beside")).raise_for_status()
    await settled(portal, "beside")
    query = {"a": "compared", "b": "fork/beside"}
    found = (await portal.http.get(f"{MAIN}/diff", params=query)).raise_for_status().json()
    assert (found["a"]["conversation"], found["b"]["conversation"]) == (
        "portal/compared",
        "fork/beside",
    )
    (row,) = found["rows"]
    assert row["a"]["replies"] == row["b"]["replies"]
    assert row["b"]["asked"][0]["text"] == "hello"
    other = await portal.http.get(f"{MAIN}/diff", params={"a": "compared", "b": "fork/none"})
    assert (other.status_code, other.json()["error"]["code"]) == (404, "unknown_conversation")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"of": "nowhere"}, 404, "unknown_conversation"),
        ({"of": "bad", "at": 0}, 422, "invalid_fork"),
        ({"of": "bad", "at": "message 9"}, 422, "invalid_fork"),
        ({"of": "bad"}, 422, "invalid_fork"),
        ({"of": ""}, 422, "invalid_request"),
        ({"of": "bad", "else": 1}, 422, "invalid_request"),
        ({"of": "bad", "message": "x", "author": "a]b"}, 422, "invalid_request"),
    ],
)
async def test_what_cannot_be_forked_says_why(portal, fields, status, code):
    await talk(portal, "bad", "hello")
    answer = await begin(portal, **fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_name_that_is_taken_is_refused(portal):
    await talk(portal, "taken", "hello")
    (await begin(portal, of="taken", message="one", name="mine")).raise_for_status()
    answer = await begin(portal, of="taken", at="message 1", message="two", name="mine")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "rejected")


async def test_nobody_speaks_to_a_fork_that_nobody_began(portal):
    body = {"author": "ana", "text": "hello"}
    for path in ("/messages", "/stream", "/"):
        answer = await portal.http.get(f"{FORKS}/nobodys{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    answer = await portal.http.post(f"{FORKS}/nobodys/messages", json=body)
    assert answer.status_code == 404
