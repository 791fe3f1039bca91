"""Processes are killed while a message is answered; its trace is one, and falls apart nowhere."""

from contextlib import asynccontextmanager

import httpx
import pytest

from schemas.channel import ReplySent
from schemas.run import ModelReturned, ToolCalled
from services.runtime.embedded.ports import choose
from services.runtime.telemetry import names
from tests.support import otlp
from tests.support.fleet import installation
from tests.support.openai_server import OpenAIServer
from tests.support.otlp import collector
from tests.support.relay import KEYED, relay
from tests.support.scripts import Answer

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

TOKEN = "for-the-test"
HELD_S = 60.0  # longer than the process that waits for it lives


@asynccontextmanager
async def running(nats_url, database_url, tmp_path, brain):
    """Run every service as a process of its own, with a model and a collector."""
    port = choose()
    replicas = {"channel": 1, "branch": 1, "worker": 1, "projector": 1, "api": 1}
    with collector() as found:
        async with (
            OpenAIServer(brain) as server,
            installation(
                nats_url,
                database_url,
                tmp_path,
                replicas,
                PENSTOCK_PORT=str(port),
                PENSTOCK_API_TOKEN=TOKEN,
                PENSTOCK_LOG_ACK_WAIT_S="2",
                OPENAI_API_BASE=server.url,
                **KEYED,
                **otlp.variables(found.url),
            ) as here,
        ):
            await here.fleet.started()
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}/api/v1/agents/main/conversations/room",
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=30,
            ) as http:
                yield here, found, http


async def say(http, text):
    answer = await http.post("/messages", json={"author": "ana", "text": text})
    answer.raise_for_status()


async def complete(found):
    """Wait for the end of the turn that tells the worker's result; return the whole trace."""
    turns = await found.has(lambda it: it.name == "invoke_workflow turn", count=2, timeout_s=60)
    assert len({it.trace_id for it in turns}) == 1
    spans = await found.whole(turns[0].trace_id)
    assert {it.trace_id for it in found.all() if it.operation == names.CHAT} == {turns[0].trace_id}
    (root,) = [it for it in spans if it.parent_id is None]
    assert root.attributes[names.EVENT_TYPE] == "message_received"
    return spans


def slot(here, service):
    return next(slot for slot in here.fleet.slots if slot.services == service)


class Held:
    """A model that lets one request wait for ever: the one that a test picks."""

    def __init__(self, wanted) -> None:
        self._wanted = wanted
        self.held = False

    def __call__(self, body) -> Answer:
        if not self.held and self._wanted(body):
            self.held = True
            return Answer(text="too late", first_after_s=HELD_S)
        return relay(body)


def after_a_tool(name):
    """Pick the request of a run with this tool, behind the result of a first call."""

    def wanted(body):
        offered = {tool["function"]["name"] for tool in body.get("tools", [])}
        return name in offered and any(it["role"] == "tool" for it in body["messages"])

    return wanted


@pytest.mark.parametrize(("service", "tool"), [("channel", "reply"), ("worker", "shell")])
async def test_a_killed_run_is_in_the_trace_of_its_message_with_all_that_it_did_before(
    empty_nats_url, database_url, tmp_path, service, tool
):
    brain = Held(after_a_tool(tool))
    async with running(empty_nats_url, database_url, tmp_path, brain) as (here, found, http):
        await say(http, "please send the parcel")

        async def waits():
            return brain.held

        await otlp.until(waits, timeout_s=60)
        await here.fleet.kill(slot(here, service))
        spans = await complete(found)
    kind = {"channel": "turn", "worker": "worker"}[service]
    (killed,) = [
        it
        for it in spans
        if it.operation.startswith("invoke_") and it.attributes[names.ATTEMPTS] == 2
    ]
    assert killed.attributes[names.RUN_KIND] == kind
    assert killed.events == ("taken_over",)
    steps = [it for it in spans if it.parent_id == killed.span_id]
    assert [it.attributes.get(names.ERROR) for it in steps if it.operation == names.CHAT] == [
        None,  # what was answered before the kill is told, by somebody who lives
        "interrupted",
        None,
    ]
    assert all(
        it.attributes[names.INPUT_TOKENS] for it in steps if it.attributes.get(names.RESPONSE_MODEL)
    )


async def test_nothing_of_a_trace_is_missing_when_whoever_tells_it_is_killed(
    empty_nats_url, database_url, tmp_path
):
    brain = Held(after_a_tool("reply"))
    async with running(empty_nats_url, database_url, tmp_path, brain) as (here, found, http):
        await say(http, "please send the parcel")
        await found.has(lambda it: it.operation == names.CHAT)  # told in the middle of its turn
        await here.fleet.kill(slot(here, "projector"))
        await here.fleet.kill(slot(here, "channel"))
        spans = await complete(found)
        events = [recorded.event for recorded in await here.events()]
    chats = [it for it in spans if it.attributes.get(names.RESPONSE_MODEL)]
    chats = [it for it in chats if it.operation == names.CHAT]
    assert len(chats) == sum(isinstance(it, ModelReturned) for it in events)
    tools = [it for it in spans if it.operation == names.EXECUTE_TOOL]
    assert len(tools) == sum(isinstance(it, ToolCalled) for it in events)
    replies = [it for it in spans if it.attributes.get(names.EVENT_TYPE) == "reply_sent"]
    assert len(replies) == sum(isinstance(it, ReplySent) for it in events)
