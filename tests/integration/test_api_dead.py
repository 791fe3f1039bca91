"""What was given up is listed over HTTP, and is tried again when somebody asks for it."""

import asyncio
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from schemas.channel import RetryRequested
from schemas.dead import DeliveryParked
from services.runtime.event_log import Recorded
from tests.support.openai_server import OpenAIServer
from tests.support.portal import Portal, portal_maker, shared_portal  # noqa: F401 - found by name
from tests.support.scripts import Answer, Fault

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

DEAD = "/api/v1/dead"


class Moody:
    """A model that refuses until it is told to answer."""

    def __init__(self) -> None:
        self.refuses = True

    def __call__(self, _: object) -> Answer | Fault:
        if self.refuses:
            return Fault(status=401, message="no")
        return Answer(text="Here I am again.")


@pytest_asyncio.fixture(loop_scope="module")
async def moody(new_portal):
    """A portal, and the model it asks."""
    async with AsyncExitStack() as stack:
        brain = Moody()
        server = await stack.enter_async_context(OpenAIServer(brain))
        portal = await new_portal(
            PENSTOCK_MODEL="openai/x",
            OPENAI_API_KEY="swordfish",
            OPENAI_API_BASE=server.url,
            PENSTOCK_MODELS_RETRIES="1",
        )
        yield portal, brain


def fault(response):
    return response.status_code, response.json()["error"]["code"]


async def listed(portal: Portal, **query) -> dict:
    await portal.projected()
    return (await portal.http.get(DEAD, params=query)).raise_for_status().json()


async def events(portal: Portal, conversation: str, type_: str) -> list[Recorded]:
    subject = str(portal.subject(conversation))
    found = [recorded async for recorded in portal.process.log.read(subject, fresh=True)]
    return [recorded for recorded in found if recorded.envelope.type == type_]


async def test_a_turn_that_failed_is_listed_and_answered_once_when_it_is_asked_for(moody):
    portal, brain = moody
    await portal.settled("sulky", "hello")
    page = await listed(portal)
    (letter,) = page["items"]
    assert page["next"] is None
    assert (letter["kind"], letter["conversation"], letter["open"]) == ("turn", "sulky", True)
    assert "swordfish" not in str(page)
    brain.refuses = False
    path = f"{DEAD}/{letter['ref']}/retry"
    async with portal.stream("sulky", after=letter["seq"]) as stream:
        answers = await asyncio.gather(
            *(portal.http.post(path, json={"author": "ana"}) for _ in range(3))
        )
        reply = await stream.until("reply")
        await stream.until("settled")
    assert reply.data["text"] == "Here I am again."
    (asked,) = await events(portal, "sulky", "retry_requested")
    assert asked.event == RetryRequested(turn_id=letter["turn_id"])
    assert asked.envelope.actor == "person:portal:ana"
    receipt = {"event_id": asked.envelope.id, "seq": asked.seq}
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert all(answer.json() == receipt for answer in answers if answer.status_code == 202)
    assert answers[0].status_code == 202 or answers[1].status_code == 202
    assert len(await events(portal, "sulky", "reply_sent")) == 2  # the apology, and this
    assert (await listed(portal))["items"] == []
    (tried,) = (await listed(portal, all="true"))["items"]
    assert (tried["ref"], tried["open"]) == (letter["ref"], False)
    assert fault(await portal.http.post(path)) == (409, "rejected")


async def test_the_list_comes_in_pages_newest_first(portal):
    subject = portal.subject("paged")
    for number in range(5):
        await portal.append(
            subject.of("dead"),
            DeliveryParked(durable="nobody", subject=str(subject), seq=number + 1, reason="why"),
        )
    refs, before = [], {}
    while True:
        page = await listed(portal, limit=2, **before)
        refs += [item["ref"] for item in page["items"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert refs == [f"delivery:nobody:{number}" for number in range(5, 0, -1)]


async def test_a_delivery_is_asked_for_on_the_list_of_its_service(portal):
    receipt = (await portal.say("parked", "hello")).json()
    subject = portal.subject("parked")
    ref = f"delivery:nobody:{receipt['seq']}"
    await portal.append(
        subject.of("dead"),
        DeliveryParked(durable="nobody", subject=str(subject), seq=receipt["seq"], reason="why"),
    )
    await portal.projected()
    asked = (await portal.http.post(f"{DEAD}/{ref}/retry")).raise_for_status().json()
    newest = await portal.process.log.last(str(subject.of("dead")), fresh=True)
    assert (newest.seq, newest.envelope.actor) == (asked["seq"], "api")
    assert (newest.event.durable, newest.event.seq) == ("nobody", receipt["seq"])


async def test_what_was_never_given_up_cannot_be_tried_again(portal):
    for ref in ("turn:unknown", "delivery:channel:999999", "nonsense"):
        assert fault(await portal.http.post(f"{DEAD}/{ref}/retry")) == (404, "not_found")


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"before": -1}, {"all": "maybe"}])
async def test_what_is_wrong_with_a_question_is_said(portal, query):
    assert fault(await portal.http.get(DEAD, params=query)) == (422, "invalid_request")
