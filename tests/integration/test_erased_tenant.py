"""An administrator purges a tenant while services run, on a real log."""

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from schemas.schedule import JobDefined, OccurrenceFired, Schedule
from services.errors import Conflict
from services.runtime.config import SchedulerSettings
from services.runtime.conversations import Conversations
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import STREAM, JetStreamLog
from services.runtime.writer import Writer
from services.scheduler.service import Scheduler
from tests.support.builders import CONVERSATION, message
from tests.support.fake_clock import FakeClock
from tests.support.jobs import JOB, NINE
from tests.support.replicas import FakeSnapshots
from tests.support.servers import until

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


@pytest.fixture
async def connection(empty_nats_url):
    connection = await Connection.open(empty_nats_url)
    yield connection
    await connection.close()


@pytest.fixture
async def log(connection):
    log = JetStreamLog(connection)
    await log.create()
    return log


async def purge(connection, pattern: str) -> None:
    body = msgspec.json.encode({"filter": pattern})
    await connection.ask(f"$JS.API.STREAM.PURGE.{STREAM}", body)


async def test_a_conversation_begins_anew_and_can_be_appended_to(log, connection):
    writer, conversations = Writer(log, FakeClock(), "test"), Conversations(log, FakeSnapshots())
    for text in ("one", "two"):
        await log.append(str(CONVERSATION), writer.seal(message(text, message_id=text)))
    before = await conversations.newest(CONVERSATION)
    await purge(connection, "evt.acme.>")
    with pytest.raises(Conflict):
        await log.append_if(str(CONVERSATION), before.seq, writer.seal(message("three")))
    state = await conversations.newest(CONVERSATION)
    assert (state.seq, state.entries) == (0, ())
    seq = await log.append_if(str(CONVERSATION), state.seq, writer.seal(message("three")))
    state = await conversations.at_least(CONVERSATION, seq)
    assert [entry.text for entry in state.entries] == ["three"]


async def test_a_running_scheduler_forgets_what_is_gone_and_fires_what_is_defined_anew(
    log, connection
):
    clock, stopping = FakeClock(NINE), asyncio.Event()
    writer = Writer(log, clock, "test")
    scheduler = Scheduler(
        Writer(log, clock, "scheduler"), FakeSnapshots(), SchedulerSettings(), stopping
    )
    there = JOB._replace(tenant="globex")

    async def define(*jobs) -> None:
        for job in jobs:
            schedule = Schedule(every_s=60, anchor_at=clock.now())
            event = JobDefined(schedule=schedule, prompt="look", effective_at=clock.now())
            await log.append(str(job), writer.seal(event))

    async def fired(job) -> int:
        events = [it.event async for it in log.read(str(job), fresh=True)]
        return sum(isinstance(event, OccurrenceFired) for event in events)

    async def stands(job) -> bool:
        return scheduler.board.job(str(job)).now is not None

    async def is_gone() -> bool:
        return not scheduler.board.job(str(JOB)).seq

    await define(JOB, there)
    running = asyncio.create_task(scheduler.run())
    try:
        await until(lambda: stands(there))
        clock.advance(61)
        await until(lambda: fired(JOB))
        await purge(connection, "evt.acme.>")
        clock.advance(60)
        await until(is_gone)
        await define(JOB)  # what ran of the erased one does not hold it up
        await until(lambda: stands(JOB))
        clock.advance(61)
        await until(lambda: fired(JOB))
        assert not running.done()
        assert await stands(there)
    finally:
        stopping.set()
        await running
