"""What nobody should send, and what no tool should do: it is survived, and said honestly."""

import asyncio
import json
from pathlib import Path

import pytest

from schemas.base import BodyRef
from schemas.channel import (
    MessageReceived,
    TurnFailed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
)
from schemas.dead import DeliveryParked
from schemas.envelope import MAX_EVENT_BYTES, TYPE_HEADER, seal
from schemas.run import RunEnded, RunWaiting, ToolReturned
from services.runtime import ids
from services.runtime.sandbox import Available, probe
from tests.support.chaos import settled
from tests.support.fleet import PERSON, in_room, installation
from tests.support.servers import until

pytestmark = pytest.mark.acceptance

REPLICAS = {"channel+branch+projector": 1, "worker": 1}
MEGABYTE = 1_000_000


@pytest.fixture
def installed(empty_nats_url, database_url, tmp_path):
    """Call it: an installation with the offline model, settings as given."""

    def installed(**settings):
        return installation(
            *(empty_nats_url, database_url, tmp_path, REPLICAS),
            PENSTOCK_MODEL="offline/rules",
            **settings,
        )

    return installed


@pytest.fixture
async def sandbox():
    if not isinstance(await probe(), Available):
        pytest.skip("commands cannot be confined on this machine")


async def exact(running, *, parked=0):
    """Make sure that the read models are what the log says, and that only so much was parked."""
    await running.caught_up()
    checked, listed = await asyncio.gather(
        running.fleet.command("rebuild", "--check"),
        running.fleet.command("dead", "list", "--json"),
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(json.loads(listed.stdout)) == parked, listed.stdout


async def well(running, *, problems=()):
    """Make sure that everything came to rest and every process lives."""
    verdict = await settled(running.log, {}, timeout_s=0 if problems else 10)
    assert (verdict.problems, verdict.unsettled) == ([*problems], [])
    assert await running.fleet.stop() == [0, 0]


def of(event_type):
    return lambda recorded: isinstance(recorded.event, event_type)


async def stored(running, subject, body, type_):
    """Put bytes on the log as no service of ours would."""
    headers = {TYPE_HEADER: type_} if type_ else {}
    await running.connection.ask(str(subject), body, headers)


async def test_damaged_events_are_parked_and_their_conversation_goes_on(installed):
    async with installed() as running:
        room = in_room("room").channel
        whole = {"type": "message_received", "at": 1, "actor": "x"}
        said = {"message_id": "m", "author": {"id": "p:x", "name": "x"}}
        poison = [
            b"\x00\xff{garbage",
            b"",
            json.dumps({**whole, "id": "a", "data": {"nonsense": 1}}).encode(),
            json.dumps({**whole, "id": "b", "data": {**said, "text": "\ud800"}}).encode(),
        ]
        await running.say("hello")
        for body in poison:
            await stored(running, room, body, "message_received")
        await stored(running, room, b"garbage without a header", None)
        await running.say("thanks")
        await running.hears("You're welcome")
        parked = [
            recorded.event for recorded in await running.events() if of(DeliveryParked)(recorded)
        ]
        assert {event.durable for event in parked} == {"channel"}
        assert len(parked) == len(poison)
        assert all("cannot be decoded" in event.reason for event in parked)
        await exact(running, parked=len(poison))
        await well(running)


async def test_text_that_no_store_takes_is_answered_and_kept(installed):
    async with installed() as running:
        await running.say("nul \0 and half a \ud83d pair")
        await running.hears("did not understand")
        raw = {"message_id": "m", "author": {"id": "p:x", "name": "a\0b"}, "text": "hello\0"}
        body = {"id": "raw", "type": "message_received", "at": 1, "actor": "x", "data": raw}
        await stored(running, in_room("raw").channel, json.dumps(body).encode(), "message_received")
        await running.hears("", room="raw")
        said = (await running.events())[0].event
        assert said.text == "nul \u2400 and half a \ufffd pair"
        await exact(running)
        await well(running)


async def test_a_message_of_two_megabytes_is_kept_by_reference_and_answered(installed):
    async with installed() as running:
        text = "long " * (2 * MEGABYTE // 5)
        await running.say(text)
        await running.hears("did not understand")
        message = (await running.events())[0]
        assert isinstance(message.event.text, BodyRef)
        assert await running.bodies.get(message.event.text) == text.encode()
        assert all(len(recorded.body) <= MAX_EVENT_BYTES for recorded in await running.events())
        await exact(running)
        await well(running)


async def test_a_message_for_an_agent_that_does_not_exist_gets_an_honest_answer(installed):
    async with installed() as running:
        room = in_room("room")._replace(agent="nobody").channel
        event = MessageReceived(message_id="m", author=PERSON, text="hello")
        await running.log.append(str(room), seal(event, id=ids.event_id(), at=1, actor="x"))

        async def told():
            return [r.event async for r in running.log.read(str(room), fresh=True)][2:]

        async def failed():
            return any(isinstance(event, TurnFailed) for event in await told())

        await until(failed, timeout_s=20)
        reply, failed = await told()
        assert "has no agent 'nobody'" in reply.text
        assert isinstance(failed, TurnFailed)
        await running.say("hello")
        await running.hears("Hello")
        await exact(running, parked=1)
        await well(running, problems=[f"room: {reply.text}"])


async def test_one_message_delivered_many_times_is_answered_once(installed):
    async with installed() as running:
        for _ in range(5):
            await running.say("hello", key="platform-1")
        await running.hears("Hello")
        event = MessageReceived(message_id="platform-1", author=PERSON, text="hello")
        for _ in range(5):  # as after the window in which the log itself tells duplicates
            envelope = seal(event, id=ids.event_id(), at=1, actor="x")
            await running.log.append(str(in_room("room").channel), envelope)
        await running.say("thanks")
        replies = await running.hears("You're welcome")
        assert len(replies) == 2
        assert sum(of(TurnStarted)(recorded) for recorded in await running.events()) == 2
        verdict = await settled(running.log, {}, timeout_s=0)
        assert len(verdict.problems) == 5  # the five that are no new messages
        assert await running.fleet.stop() == [0, 0]


async def test_a_command_that_hangs_is_stopped_and_the_conversation_is_told(installed, sandbox):
    async with installed(PENSTOCK_SANDBOX_SHELL_TIMEOUT_S="1") as running:
        await running.say("run: sleep 98765")
        await running.hears("stopped after 1 s")
        ended = await running.has(of(RunEnded))
        assert ended.event.outcome == "failed"
        assert not running_commands("98765")
        await well(running)


async def test_a_worker_without_a_finished_step_ends_as_timed_out(installed, sandbox):
    async with installed(PENSTOCK_WORKER_INACTIVITY_TIMEOUT_S="2") as running:
        await running.say("run: sleep 98764")
        await running.hears("ran out of time")
        told = await running.has(of(WorkerConcluded))
        assert told.event.outcome == "timed_out"
        assert not running_commands("98764")
        await well(running)


async def test_output_of_a_hundred_megabytes_is_cut_and_takes_no_memory(installed, sandbox):
    async with installed() as running:
        worker = running.fleet.slots[1]
        await running.say("run: echo warm")
        await running.hears("warm\n")
        before = peak(worker.process.pid)
        await running.say("run: head -c 100000000 /dev/zero | tr '\\0' 'x'; echo; echo the end")
        await running.hears("the end\n", timeout_s=60)
        returned = [
            recorded.event
            for recorded in await running.events()
            if of(ToolReturned)(recorded) and recorded.event.name == "shell"
        ][1]
        shown = await running.bodies.get(returned.output)
        assert len(shown) <= 50_000
        assert b"the end" in shown
        kept = await running.bodies.get(returned.full)
        assert len(shown) < len(kept) < 20 * MEGABYTE
        assert b"bytes left out" in kept
        assert peak(worker.process.pid) - before < 150 * MEGABYTE
        await well(running)


async def test_bytes_that_are_no_text_in_tool_output_become_characters(installed, sandbox):
    async with installed() as running:
        await running.say("run: printf 'nul \\000, a surrogate \\355\\240\\200, not utf-8 \\377'")
        await running.hears("nul \u2400, a surrogate \ufffd\ufffd\ufffd, not utf-8 \ufffd")
        await well(running)


async def test_an_interactive_worker_that_waits_is_resumed_by_another_process(installed, sandbox):
    async with installed() as running:
        worker = running.fleet.slots[1]
        await running.say("start an interactive worker")
        await running.hears("Ready.")
        await running.fleet.kill(worker)
        await running.say("tell the worker to run: echo first")
        await running.hears("first\n")
        await running.fleet.end(worker)  # and nobody is there when the next input comes
        await running.say("tell the worker to run: echo second")
        await running.hears("Told worker")
        await running.fleet.launch(worker)
        await running.hears("second\n")
        events = [recorded.event for recorded in await running.events()]
        assert sum(isinstance(event, RunWaiting) for event in events) == 3
        assert sum(isinstance(event, WorkerReported) for event in events) == 3
        shells = [e for e in events if isinstance(e, ToolReturned) and e.name == "shell"]
        assert [shell.status for shell in shells] == ["ok", "ok"]
        await running.say("cancel")
        await running.has(of(WorkerConcluded))
        await running.hears("was cancelled")
        await well(running)


def running_commands(word):
    """Return the processes of this machine whose command line has `word` in it."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(place.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if f"sleep {word}" in line.replace("\0", " ")]


def peak(pid):
    """Return the most memory that a process ever had, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1_024
