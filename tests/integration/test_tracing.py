"""What a collector is told of a running installation, over a real socket, as real protobuf."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from schemas.schedule import JobDefined, OccurrenceMissed, Schedule
from schemas.subjects import Subject
from services.runtime.embedded.servers import Urls
from services.runtime.telemetry import names
from tests.support import otlp
from tests.support.openai_server import OpenAIServer
from tests.support.otlp import collector
from tests.support.portal import new_database, new_nats, opened_portal
from tests.support.relay import KEYED, relay

pytestmark = [pytest.mark.integration]


def is_root(it):
    return it.attributes.get(names.EVENT_TYPE) == "message_received" and it.operation == "send"


def sent(event_type):
    def is_sent(it):
        return it.operation == "send" and it.attributes.get(names.EVENT_TYPE) == event_type

    return is_sent


@pytest.fixture
def told(postgres_server, tmp_path, monkeypatch):
    """Call it: a running installation with a real model server, and the collector that it tells."""

    @asynccontextmanager
    async def told(otel=None, **settings):
        with collector() as found:
            for name, value in otlp.variables(found.url, **(otel or {})).items():
                monkeypatch.setenv(name, value)
            async with (
                OpenAIServer(relay) as server,
                new_nats(tmp_path / "nats") as nats_url,
                new_database(postgres_server) as database_url,
                opened_portal(
                    tmp_path,
                    Urls(nats=nats_url, database=database_url),
                    **(KEYED | {"OPENAI_API_BASE": server.url} | settings),
                ) as portal,
            ):
                yield portal, found

    return told


async def handed_on(portal, found):
    """Say something that goes through branch and worker; return its trace once it is complete."""
    await portal.say("room", "please send the parcel to bob@example.org, password=hunter22")
    (message,) = await found.has(is_root)
    await found.has(lambda it: it.name == "invoke_workflow turn", count=2)
    await found.has(lambda it: it.operation == names.PROCESS, count=4)
    return message, await found.whole(message.trace_id)


async def test_a_message_that_goes_through_channel_branch_and_worker_is_one_trace(told):
    async with told() as (portal, found):
        message, spans = await handed_on(portal, found)
    by_id = {it.span_id: it for it in spans}

    def way_up(it):
        yield it.name
        if it.parent_id is not None:
            yield from way_up(by_id[it.parent_id])

    assert message.parent_id is None
    runs = [it.name for it in spans if it.operation.startswith("invoke_")]
    assert runs == [
        "invoke_workflow turn",
        "invoke_agent main/branch",
        "invoke_agent main/worker",
        "invoke_workflow turn",
    ]
    (shell,) = [it for it in spans if it.name == "execute_tool shell"]
    channel = "send evt.{tenant}.{agent}.{adapter}.{conversation}.channel._"
    assert list(way_up(shell)) == [
        "execute_tool shell",
        "invoke_agent main/worker",
        channel,
        "execute_tool spawn_worker",
        "invoke_agent main/branch",
        channel,
        "execute_tool branch",
        "invoke_workflow turn",
        channel,
    ]
    answer = max((it for it in spans if sent("reply_sent")(it)), key=lambda it: it.start)
    assert message.span_id in _line(answer, by_id)
    assert {it.trace_id for it in found.all() if it.operation == names.CHAT} == {message.trace_id}


def _line(it, by_id):
    while it.parent_id is not None:
        yield it.parent_id
        it = by_id[it.parent_id]


async def test_every_span_has_the_attributes_of_the_conventions(told):
    async with told() as (portal, found):
        _, spans = await handed_on(portal, found)
    whose = {
        names.TENANT: "default",
        names.AGENT_ID: "main",
        names.CONVERSATION: "room",
        names.ADAPTER: "portal",
    }
    for it in spans:
        assert whose.items() <= it.attributes.items(), it
        assert it.end >= it.start
        assert it.schema_url == names.SCHEMA_URL
        assert it.resource["service.name"] == "penstock"
    chats = [it for it in spans if it.operation == names.CHAT]
    assert len(chats) == 6
    for it in chats:
        assert it.name == "chat relay"
        assert it.kind == "CLIENT"
        assert it.attributes[names.OPERATION] == "chat"
        assert it.attributes[names.PROVIDER] == "openai"
        assert it.attributes[names.TRIGGER] == "message"
        assert it.attributes[names.FINISH_REASONS] == ["tool_calls"]
        assert it.attributes[names.INPUT_TOKENS] > 0
        assert it.attributes[names.OUTPUT_TOKENS] > 0
        assert it.attributes[names.CACHED_TOKENS] == 2
        assert it.status == 0
    streamed = [it for it in chats if it.attributes[names.RUN_KIND] == "turn"]
    assert all(it.attributes[names.FIRST_CHUNK] >= 0 for it in streamed)
    runs = [it for it in spans if it.operation.startswith("invoke_")]
    used = sum(it.attributes[names.INPUT_TOKENS] for it in runs)
    assert used == sum(it.attributes[names.INPUT_TOKENS] for it in chats)
    for it in spans:
        if it.operation in {"send", "process"}:
            assert it.kind == {"send": "PRODUCER", "process": "CONSUMER"}[it.operation]
            assert it.attributes[names.MESSAGING_SYSTEM] == "nats"
            assert it.attributes[names.MESSAGING_OPERATION] == it.operation
            assert it.attributes[names.DESTINATION].startswith("evt.default.main.portal.room.")
            assert it.attributes[names.NATS_STREAM] == "EVENTS"
        if it.operation == names.EXECUTE_TOOL:
            assert it.attributes[names.TOOL_NAME] == it.name.split()[1]
            assert it.attributes[names.TOOL_CALL].startswith("s")
    groups = {it.attributes[names.CONSUMER_GROUP] for it in spans if it.operation == "process"}
    assert groups >= {"channel", "branch", "worker"}


async def test_what_was_said_stays_here_unless_a_setting_lets_it_out(told):
    async with told() as (portal, found):
        _, spans = await handed_on(portal, found)
    words = " ".join(str(value) for it in spans for value in it.attributes.values())
    assert "parcel" not in words
    assert not any("messages" in key or "arguments" in key for it in spans for key in it.attributes)


async def test_what_may_be_told_is_redacted_and_in_the_shape_of_messages(told):
    async with told(PENSTOCK_TELEMETRY_CONTENT="true") as (portal, found):
        _, spans = await handed_on(portal, found)
    turn = next(it for it in spans if it.name == "invoke_workflow turn")
    (asked,) = json.loads(turn.attributes[names.INPUT_MESSAGES])
    text = "please send the parcel to [redacted], password=[redacted]"
    assert asked == {"role": "user", "parts": [{"type": "text", "content": text}]}
    (shell,) = [it for it in spans if it.name == "execute_tool shell"]
    assert json.loads(shell.attributes[names.TOOL_ARGUMENTS]) == {"command": "echo the parcel"}
    assert "the parcel" in shell.attributes[names.TOOL_RESULT]
    chat = next(it for it in spans if it.operation == names.CHAT)
    (answer,) = json.loads(chat.attributes[names.OUTPUT_MESSAGES])
    assert answer["parts"][0]["type"] == "tool_call"
    everything = " ".join(str(value) for it in spans for value in it.attributes.values())
    assert "hunter22" not in everything
    assert "bob@example.org" not in everything


async def test_words_are_told_of_no_tenant_that_is_not_named(told):
    settings = {
        "PENSTOCK_TELEMETRY_CONTENT": "true",
        "PENSTOCK_TELEMETRY_CONTENT_TENANTS": "acme",
    }
    async with told(**settings) as (portal, found):
        _, spans = await handed_on(portal, found)
    assert not any("parcel" in str(value) for it in spans for value in it.attributes.values())


async def test_a_trace_that_a_caller_has_begun_goes_on_here(told):
    header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with told() as (portal, found):
        body = {"author": "ana", "text": "please send the parcel"}
        path = f"{portal.place('room')}/messages"
        await portal.http.post(path, json=body, headers={"traceparent": header})
        (message,) = await found.has(is_root)
        await found.has(sent("reply_sent"))
    assert message.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert message.parent_id == "00f067aa0ba902b7"


async def test_each_of_two_messages_in_a_row_has_a_trace_of_its_own(told):
    async with told() as (portal, found):
        await portal.say("room", "please send the first parcel")
        await portal.say("room", "please send the second parcel")
        first, second = sorted(await found.has(is_root, count=2), key=lambda it: it.start)

        def answers(it):
            started = {first.span_id, second.span_id}
            return it.operation == names.INVOKE_WORKFLOW and it.parent_id in started

        turns = await found.has(answers)
        answered = {(it.trace_id, it.parent_id) for it in turns}
        answered |= {link for it in turns for link in it.links}
        for message in (first, second):
            if (message.trace_id, message.span_id) not in answered:
                await found.has(lambda it, wanted=message: it.parent_id == wanted.span_id)
    assert first.trace_id != second.trace_id


async def test_a_time_that_was_missed_is_a_span_of_its_own(told):
    job = Subject("default", "main", "cron", "digest")
    async with told() as (portal, found):
        schedule = Schedule(every_s=60, anchor_at=0)
        await portal.append(job, JobDefined(schedule=schedule, prompt="go", effective_at=1))
        missed = OccurrenceMissed(due_at=60_000_000, reason="not_running", down_from_at=1)
        await portal.append(job, missed)
        (it, *_) = await found.has(lambda it: it.name == "occurrence_missed")
    assert it.attributes[names.JOB] == "digest"
    assert it.attributes[names.REASON] == "not_running"
    assert it.status == 2


async def test_spans_wait_in_the_log_for_a_collector_that_is_away(told):
    async with told() as (portal, found):
        found.refuse = 3
        _, spans = await handed_on(portal, found)
    assert found.refused == 3
    assert len([it for it in spans if it.operation == names.CHAT]) == 6


async def test_traces_that_are_not_sampled_are_measured_and_not_told(told):
    async with told({"OTEL_TRACES_SAMPLER": "always_off"}) as (portal, found):
        await portal.settled("room", "please send the parcel")
        await metric(found, names.TOKEN_USAGE)
    assert found.all() == []


async def metric(found, name, *, points=1):
    """Wait for a metric and return its newest points."""
    latest = {}

    async def there():
        with found.lock:
            latest.update(
                {
                    tuple(sorted(map(str, it.attributes.items()))): it
                    for it in found.points
                    if it.name == name
                }
            )
        return len(latest) >= points

    await otlp.until(there, timeout_s=30)
    return list(latest.values())


async def test_metrics_of_the_conventions_are_told_with_whom_they_are_of(told):
    async with told() as (portal, found):
        _, spans = await handed_on(portal, found)
        chats = [it for it in spans if it.operation == names.CHAT]
        wanted = sum(it.attributes[names.INPUT_TOKENS] for it in chats)

        async def all_counted():
            usage = await metric(found, names.TOKEN_USAGE, points=2)
            return wanted == sum(
                it.value for it in usage if it.attributes[names.TOKEN_TYPE] == "input"
            )

        await otlp.until(all_counted, timeout_s=30)
        usage = await metric(found, names.TOKEN_USAGE, points=2)
        for it in usage:
            account = {names.TENANT: "default", names.AGENT_ID: "main", names.TRIGGER: "message"}
            assert account.items() <= it.attributes.items()
            assert it.unit == "{token}"
        for name in (
            *(names.OPERATION_DURATION, names.TIME_TO_FIRST_CHUNK, names.WORKFLOW_DURATION),
            *(names.AGENT_DURATION, names.TOOL_DURATION, names.TURN_LATENCY),
            *(names.PROCESS_DURATION, names.CONSUMED_MESSAGES),
            *(names.SENT_DURATION, names.SENT_MESSAGES),
            *(names.CONSUMER_LAG, names.PROJECTION_LAG),
        ):
            found_points = await metric(found, name)
            assert all(it.unit == names.UNITS[name] for it in found_points)
        lags = {it.attributes[names.PROJECTION] for it in await metric(found, names.PROJECTION_LAG)}
        assert "runs" in lags


async def test_a_search_of_memory_is_told_below_the_tool_that_searches(told):
    async with told(PENSTOCK_MODEL="offline/rules") as (portal, found):
        await portal.settled("room", "what do you know about green tea?")
        (search, *_) = await found.has(lambda it: it.operation == names.SEARCH_MEMORY)
        (embedding, *_) = await found.has(lambda it: it.operation == names.EMBEDDINGS)
        spans = {it.span_id: it for it in await found.whole(search.trace_id)}
    assert spans[search.parent_id].name == "execute_tool memory_recall"
    assert embedding.parent_id == search.parent_id  # what is measured live is a leaf
    assert search.name == "search_memory memories"
    assert search.attributes[names.RECORD_COUNT] == 0
    assert search.attributes[names.TENANT] == "default"
    assert names.MEMORY_QUERY not in search.attributes
    assert embedding.attributes[names.ERROR]  # there is no model in this test
    assert embedding.status == 2


async def test_a_replay_is_told_as_new_traces_that_are_linked_to_those_of_then(told, tmp_path):
    async with told() as (portal, found):
        message, spans = await handed_on(portal, found)
        environment = {
            **os.environ,
            "PENSTOCK_NATS_URL": portal.process.connection.client.connected_url.geturl(),
            "PENSTOCK_DATA_DIR": str(tmp_path / "elsewhere"),
            **KEYED,
        }
        command = (sys.executable, "-m", "services.cli", "replay", "--all", "--json")
        replay = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=False
        )
        assert replay.returncode == 0, replay.stdout + replay.stderr
        again = await found.has(lambda it: it.attributes.get(names.REPLAY))
    links = {link for it in again for link in it.links}
    told_then = {(it.trace_id, it.span_id) for it in spans if names.RUN in it.attributes}
    assert links == told_then
    assert message.trace_id not in {it.trace_id for it in again}
