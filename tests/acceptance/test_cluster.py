"""Replicas race for the same work, on one server and on a cluster that loses its leader."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from schemas.base import MemoryId
from schemas.channel import (
    MessageReceived,
    ReplySent,
    TurnCompleted,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerRequested,
)
from schemas.memory import MemorySaved
from schemas.run import RunEnded, RunResumed, ToolReturned
from schemas.subjects import Subject, parse
from services.errors import Fenced
from services.runtime.event_log import Delivery
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import STREAM, JetStreamLog
from tests.acceptance.test_chaos import UNLIMITED
from tests.contracts.event_log import EventLogContract
from tests.support.builders import CONVERSATION
from tests.support.chaos import Crowd, brain, settled, trail
from tests.support.fleet import BROKEN_OFF, installation
from tests.support.openai_server import OpenAIServer
from tests.support.replicas import Killed, Replica, Shared, nothing
from tests.support.scripted_model import by_prompt, calls, does, says
from tests.support.servers import kill, start_cluster

pytestmark = [pytest.mark.acceptance, BROKEN_OFF]

RACERS = 8
ROUNDS = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory):
    async with AsyncExitStack() as stack:
        yield await start_cluster(stack, tmp_path_factory.mktemp("cluster"))


@pytest.mark.asyncio(loop_scope="module")
class TestReplicatedLog(EventLogContract):
    @pytest_asyncio.fixture(loop_scope="module")
    async def log(self, cluster):
        connection = await Connection.open(cluster.url)
        log = JetStreamLog(connection)
        await log.create(replicas=3)
        yield log
        await connection.close()


@pytest.fixture(params=["one server", "a cluster"])
async def racers(request, tmp_path, own_nats):
    """Processes of ours, each with a connection of its own, on one log."""
    async with AsyncExitStack() as stack:
        url, replicas = own_nats.url, 1
        if request.param == "a cluster":
            url, replicas = (await start_cluster(stack, tmp_path)).url, 3
        shared = []
        for _ in range(RACERS + 1):
            connection = await Connection.open(url)
            stack.push_async_callback(connection.close)
            shared.append(Shared(BRAIN, place=tmp_path, log=JetStreamLog(connection)))
        await shared[0].log.create(replicas=replicas)
        await shared[0].define()
        yield shared


BRAIN = by_prompt(
    {
        "hello": [does(calls("reply", text="hi"))],
        "[task]": [
            does(calls("shell", command="true")),
            does(calls("set_status", status="did it", kind="outcome", outcome="succeeded")),
        ],
        "build": [does(calls("spawn_worker", task="do it")), says()],
    }
)


async def dies(shared, point):
    """Kill whoever comes to this point."""

    async def hook(replica, reached):
        if reached.what == point:
            replica.kill()
            raise Killed

    shared.hook = hook


async def race(racers, recorded, service):
    """Redeliver an event to everybody at once; whoever is late is fenced or finds nothing to do."""
    replicas = [Replica(shared) for shared in racers]
    for replica in replicas:  # all stand at the same line
        await replica.conversations.at_least(parse(recorded.subject), recorded.seq + 1)
    handlers = [getattr(replica, service).handle for replica in replicas]
    outcomes = await asyncio.gather(
        *(handle(Delivery(recorded, 2)) for handle in handlers), return_exceptions=True
    )
    assert all(outcome is None or isinstance(outcome, Fenced) for outcome in outcomes), outcomes
    assert None in outcomes


async def events_of(log, subject):
    return [recorded async for recorded in log.read(str(subject), fresh=True)]


async def test_of_eight_consumers_of_one_open_turn_one_resumes_it_and_answers_once(racers):
    owner, *others = racers
    await dies(owner, "model")
    for number in range(ROUNDS):
        room = CONVERSATION._replace(conversation=f"race-{number}").of("channel")
        await owner.say("hello", subject=room)
        (said,) = await events_of(owner.log, room)
        with pytest.raises(Killed):
            await Replica(owner).channel.handle(Delivery(said, 1))
        await race(others, said, "channel")
        events = [recorded.event for recorded in await events_of(others[0].log, room)]
        kinds = [type(event) for event in events]
        assert kinds == [MessageReceived, TurnStarted, TurnResumed, ReplySent, TurnCompleted]
    assert sum(len(shared.model.requests) for shared in others) == ROUNDS


async def test_of_eight_consumers_of_one_open_worker_one_resumes_it_and_concludes_once(racers):
    owner, *others = racers
    for number in range(ROUNDS):
        room = CONVERSATION._replace(conversation=f"race-{number}").of("channel")
        await owner.say("build", subject=room)
        (said,) = await events_of(owner.log, room)
        await Replica(owner).channel.handle(Delivery(said, 1))
        requested = next(
            recorded
            for recorded in await events_of(owner.log, room)
            if isinstance(recorded.event, WorkerRequested)
        )
        await dies(owner, "shell")
        with pytest.raises(Killed):
            await Replica(owner).workers.handle(Delivery(requested, 1))
        owner.hook = nothing
        await race(others, requested, "workers")
        run = room.of("worker", requested.event.run_id)
        steps = [recorded.event for recorded in await events_of(others[0].log, run)]
        assert sum(isinstance(step, RunResumed) for step in steps) >= 1
        assert sum(isinstance(step, RunEnded) for step in steps) == 1
        (result, _) = [step for step in steps if isinstance(step, ToolReturned)]
        assert result.status == "interrupted"
        told = [type(recorded.event) for recorded in await events_of(others[0].log, room)]
        assert told.count(WorkerConcluded) == 1


async def test_a_crowd_that_writes_to_one_subject_is_done_soon_and_each_event_is_there_once(racers):
    writers = [shared.outside for shared in racers[:3]]
    subject = str(Subject("acme", "atlas", entity="memory"))
    envelopes = [writers[0].seal(memory_saved(f"fact {number}")) for number in range(300)]
    async with asyncio.timeout(20):
        await asyncio.gather(
            *(
                writer.append_once(subject, envelope, since=0)
                for number, envelope in enumerate(envelopes)
                for writer in (writers[number % 3], writers[(number + 1) % 3])
            )
        )
    kept = [recorded.envelope.id for recorded in await events_of(racers[0].log, subject)]
    assert sorted(kept) == sorted(envelope.id for envelope in envelopes)


def memory_saved(text):
    return MemorySaved(memory_id=MemoryId(text), kind="fact", text=text, importance=0.5)


async def test_nothing_acknowledged_is_lost_when_the_leader_of_the_log_is_killed_under_load(
    nats_cluster, database_url, tmp_path
):
    cluster = await nats_cluster(3)
    chance = random.Random(5)  # noqa: S311 - repeatable, not secret
    async with (
        OpenAIServer(brain(chance)) as server,
        installation(
            cluster.url,
            database_url,
            tmp_path,
            {"channel+branch+worker": 3, "projector": 1},
            **UNLIMITED,
            PENSTOCK_MODEL="openai/chaos",
            OPENAI_API_KEY="sk-not-a-secret",
            OPENAI_API_BASE=server.url,
            PENSTOCK_LOG_REPLICAS="3",
        ) as running,
    ):
        people = Crowd(running.intake, conversations=25, messages=4, pause_s=(0.5, 4.0))
        talking = asyncio.create_task(people.talk())
        await running.has(lambda recorded: recorded.event, room="room-0")
        for _ in range(2):
            leader = await cluster.leader(STREAM)
            await kill(leader)
            await running.say("p-98-0", room="during", key=f"during {leader.port}")
            await leader.start()
        await talking
        verdict = await settled(running.log, people.sent, timeout_s=120)
        lines = await trail(running.log, [*verdict.problems, *verdict.unsettled])
        (tmp_path / "trail.txt").write_text("\n".join(lines))
        codes = await running.fleet.stop()
    assert verdict.problems == []
    assert verdict.unsettled == []
    assert codes == [0] * len(codes)
