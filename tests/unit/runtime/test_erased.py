"""After an administrator's purge every fold begins anew: nothing erased is shown or decided on."""

import asyncio

import pytest
from structlog.testing import capture_logs

from schemas.base import DocumentId, RunId
from schemas.cortex import BriefingWritten, Layer, Line
from schemas.ingest import DocumentReceived
from schemas.people import PersonLinked
from schemas.run import Noted, RunStarted
from schemas.schedule import OccurrenceFired
from services.cortex.written import Written
from services.errors import Fenced
from services.memory.people import People, people_subject
from services.runtime.agents import Agents
from services.runtime.briefings import Briefings, subject_of
from services.runtime.conversation import EVERYTHING
from services.runtime.conversations import Conversations
from services.runtime.documents import DocumentLog
from services.runtime.event_log import Delivery
from services.runtime.journal import Journal
from services.runtime.writer import Writer
from tests.support.builders import CONVERSATION, message
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.jobs import JOB
from tests.support.replicas import Deliveries, FakeSnapshots, Replica, Shared
from tests.support.schedulers import World
from tests.support.scripted_model import calls, does
from tests.support.servers import until

TENANT = "evt.acme.>"


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


def brain(request):
    said = [m.content for m in request.messages if m.content.startswith("[Ana]")]
    return does(calls("reply", text=f"{len(said)}: {said[-1]}"))


async def test_what_was_erased_is_not_shown_to_the_model_when_the_talk_goes_on(tmp_path):
    shared = Shared(brain, place=tmp_path)
    await shared.define()
    deliveries = Deliveries(shared)
    await shared.say("the code is 4711")
    await deliveries.settle()
    shared.log.purge(TENANT)
    await shared.define()
    await shared.say("hello")
    await deliveries.settle()
    assert "4711" not in str(shared.model.requests[-1].messages)
    replies = [r.event.text for r in shared.log.events if r.envelope.type == "reply_sent"]
    assert replies == ["1: [Ana] the code is 4711", "1: [Ana] hello"]


@pytest.mark.parametrize("keep", [200, EVERYTHING])
async def test_a_conversation_that_was_erased_is_folded_from_its_beginning(keep):
    log = FakeLog()
    writer, conversations = (
        Writer(log, FakeClock(), "test"),
        Conversations(log, FakeSnapshots(), keep=keep),
    )
    for text in ("one", "two"):
        said = message(text, message_id=text)
        await log.append(str(CONVERSATION), writer.seal(said))
    assert len((await conversations.newest(CONVERSATION)).entries) == 2
    log.purge(TENANT)
    assert (await conversations.newest(CONVERSATION)).seq == 0
    seq = await log.append(str(CONVERSATION), writer.seal(message("three")))
    state = await conversations.at_least(CONVERSATION, seq)
    assert [entry.text for entry in state.entries] == ["three"]


async def test_an_erased_conversation_holds_up_nobody_who_is_about_to_append_to_it(tmp_path):
    shared = Shared(brain, place=tmp_path)
    await shared.define()
    await shared.say("hello")
    replica = Replica(shared)
    asked = shared.log.events[-1]

    async def hook(who, point):
        if (point.when, point.what) == ("before", "reply_sent"):
            shared.log.purge("evt.acme.atlas.>")

    shared.hook = hook
    async with asyncio.timeout(5):
        with pytest.raises(Fenced):
            await replica.channel.handle(Delivery(asked, 1))


async def test_a_run_that_was_erased_stops_instead_of_trying_for_ever():
    log = FakeLog()
    stream = str(CONVERSATION.of("worker", "w1"))
    journal = Journal(
        Writer(log, FakeClock(), "worker"), FakeBodies(), stream, RunId("w1"), owner="w-1"
    )
    started = RunStarted(run_id=RunId("w1"), kind="worker", owner="w-1")
    await journal.start(started, holder="e1")
    log.purge(TENANT)
    async with asyncio.timeout(5):
        with pytest.raises(Fenced, match="erased"):
            await journal.append(Noted(run_id=RunId("w1"), kind="nudge", text="go on"))


async def test_agents_people_briefings_and_documents_are_read_anew():
    log, clock = FakeLog(), FakeClock()
    writer = Writer(log, clock, "test")
    shared = Shared(log=log)
    await shared.define()
    briefing = BriefingWritten(layers=(Layer(name="identity", lines=(Line(text="4711"),)),))
    await log.append(str(subject_of("acme", "atlas", "briefing")), writer.seal(briefing))
    linked = PersonLinked(person="portal:ana", same_as="discord:ana")
    await log.append(people_subject("acme"), writer.seal(linked))
    ref = await shared.bodies.put(b"4711")
    received = DocumentReceived(document_id=DocumentId("d1"), name="a.txt", body=ref)
    await log.append("evt.acme.atlas._._.document.d1", writer.seal(received))
    agents, people, documents = Agents(log, clock), People(log), DocumentLog(log)
    briefings, written = Briefings(log, clock), Written(log)
    assert await agents.of("acme")
    nobody = await people.of("nobody")
    assert await people.of("acme") != nobody
    assert (await documents.newest("evt.acme.atlas._._.document.d1")).seq
    assert await briefings.newest("acme", "atlas") == briefing
    await written.refresh("acme", "atlas")
    log.purge(TENANT)
    clock.advance(60)
    assert await agents.of("acme") == []
    assert await people.of("acme") == nobody
    assert (await documents.newest("evt.acme.atlas._._.document.d1")).seq == 0
    assert await briefings.newest("acme", "atlas") is None


async def test_jobs_of_an_erased_tenant_are_forgotten_by_a_running_scheduler():
    world = World()
    await world.define(every="1m")
    await world.start("one")
    world.clock.advance(61)
    await world.look()
    await world.end_runs()
    world.log.purge(TENANT)
    world.clock.advance(61)
    await world.look()
    scheduler = world.running["one"]
    assert not scheduler.board.job(str(JOB)).seq
    assert scheduler.board.next_wake() is None


async def test_a_job_that_is_defined_anew_after_a_purge_runs_again_without_a_restart():
    world = World()
    await world.define(every="1m")
    await world.start("one")
    world.clock.advance(61)
    await world.look()  # its run goes on, and would hold up the next for ever
    world.log.purge(TENANT)
    before = len(world.log.events)
    await world.define(every="1m")
    scheduler = world.running["one"]
    following = asyncio.create_task(scheduler._follow())
    world.heard["one"] = len(world.log.events)

    async def has_caught_up() -> bool:
        return scheduler.board.position == len(world.log.events)

    await until(has_caught_up)
    following.cancel()
    world.clock.advance(61)
    await world.look()
    fired = [r.event for r in world.log.events[before:] if isinstance(r.event, OccurrenceFired)]
    assert len(fired) == 1


async def test_nothing_is_read_twice_of_what_is_still_there():
    log = FakeLog()
    writer, conversations = Writer(log, FakeClock(), "test"), Conversations(log, FakeSnapshots())
    for text in ("one", "two", "three"):
        await log.append(str(CONVERSATION), writer.seal(message(text, message_id=text)))
        state = await conversations.newest(CONVERSATION)
    assert [entry.text for entry in state.entries] == ["one", "two", "three"]
