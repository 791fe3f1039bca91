"""What a long worker leaves behind: 100 model calls, each with a tool result of 5 KB."""

import asyncio
import re
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from schemas.base import BodyRef
from schemas.channel import MessageReceived, Person, WorkerConcluded
from schemas.run import ModelReturned, ToolReturned
from schemas.subjects import Subject, matching
from services.runtime.clock import SystemClock
from services.runtime.event_log import EventLog, Recorded
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.writer import Writer
from tests.bench import stand
from tests.bench.figures import Figure
from tests.support.openai_server import OpenAIServer
from tests.support.scripts import Answer

CALLS = 100
RESULT_BYTES = 5_000
DONE_S = 120.0
STEP = re.compile(r"'tool_call_id': 's(\d+)c0'")
WORKER = re.compile(r"[Ww]orker [0-9a-f]{8}-")
HERE = Subject("default", "main", "bench", "long")


async def run() -> list[Figure]:
    """Let a worker run through `penstock up`, and weigh what is in the log and in the store."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(OpenAIServer(_brain))
        data_dir = stack.enter_context(stand.directory())
        await stack.enter_async_context(stand.up(data_dir, server.url))
        connection = await Connection.open(stand.urls_of(data_dir).nats, name="bench")
        stack.push_async_callback(connection.close)
        async with asyncio.timeout(DONE_S):
            events = await _work(JetStreamLog(connection))
    results = [len(e.event.output) for e in events if isinstance(e.event, ToolReturned)]
    answers = [e for e in events if isinstance(e.event, ModelReturned)]
    shown = sum(len(msgspec.json.encode(call.body["messages"])) for call in server.calls)
    assert len(answers) >= CALLS, f"only {len(answers)} model calls"
    assert sorted(results)[len(results) // 2] >= RESULT_BYTES, "the results are too short"
    weight = sum(len(recorded.body) for recorded in events)
    weight += sum(ref.bytes for ref in {ref.sha256: ref for ref in _references(events)}.values())
    return [
        Figure(
            name=f"journal of {CALLS} model calls",
            value=weight / 1e6,
            unit="MB",
            at_most=2.0,
            note=f"{len(events)} events; the model was shown {shown / 1e6:.0f} MB",
        )
    ]


async def _work(event_log: EventLog) -> list[Recorded]:
    """Ask for the work; return everything that the conversation has when it is done."""
    ana = Person(id="bench:ana", name="ana")
    message = MessageReceived(message_id="1", author=ana, text="count, please")
    await event_log.append(str(HERE), Writer(event_log, SystemClock(), "bench").seal(message))
    everything = matching(HERE.tenant, HERE.agent, HERE.adapter, HERE.conversation)
    events = []
    async for recorded in event_log.tail(everything):
        events.append(recorded)
        if isinstance(recorded.event, WorkerConcluded):
            assert recorded.event.outcome == "succeeded", recorded.event
            break
    return events


def _references(events: list[Recorded]) -> list[BodyRef]:
    found: list[BodyRef] = []
    for recorded in events:
        for name in recorded.event.__struct_fields__ if recorded.event else ():
            value = getattr(recorded.event, name)
            if isinstance(value, BodyRef):
                found.append(value)
    return found


def _brain(body: dict[str, Any]) -> Answer:
    """Spawn a worker; as the worker, count, and end after `CALLS` calls."""
    tools = {tool["function"]["name"] for tool in body["tools"]}
    if "shell" not in tools:
        told = " ".join(str(message.get("content")) for message in body["messages"][1:])
        return _call("skip") if WORKER.search(told) else _call("spawn_worker", task="count")
    called = STEP.findall(str(body["messages"]))  # the first ones go when the context is full
    number = max(map(int, called), default=0) + 1
    if number == CALLS:
        return _call("set_status", status="counted", kind="outcome", outcome="succeeded")
    first = 10_000 + number * 1_000
    return _call("shell", command=f"seq {first} {first + RESULT_BYTES // 6}")


def _call(name: str, **arguments: object) -> Answer:
    return Answer(tool_calls=((name, msgspec.json.encode(arguments).decode()),))
