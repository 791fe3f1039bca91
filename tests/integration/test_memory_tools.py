"""What a branch can do with memory, and what it cannot, on real read models."""

import asyncio
from itertools import count

import msgspec
import pytest

from projections.registry import MIGRATIONS, PROJECTIONS
from schemas.base import EventId, RunId
from schemas.channel import Person
from schemas.memory import MemoryForgotten, MemoryLinked, MemorySaved, MemoryTouched
from schemas.run import ToolReturned
from schemas.schedule import OccurrenceFired, Target
from schemas.subjects import Subject
from services.branch.memory_tools import MEMORY_TOOLS
from services.branch.scope import Scope
from services.errors import Rejected
from services.memory.gate import NotWorthKeeping
from services.memory.keeping import Keeper, memory_subject
from services.memory.neighbours import Place, Projected
from services.memory.people import People, link, unlink
from services.projector.applying import Member, take_in
from services.runtime import database
from services.runtime.conversations import Conversations
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.writer import Writer
from tests.support.builders import message
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.jobs import minutely
from tests.support.replicas import FakeSnapshots

pytestmark = pytest.mark.integration

TOOLS = {tool.name: tool for tool in MEMORY_TOOLS}
ANA, BO = Person(id="portal:ana", name="Ana"), Person(id="portal:bo", name="Bo")
ANA_ON_SLACK = Person(id="slack:U1", name="Ana")
PLACE = Place("acme", "atlas")
NO_JOB = object()
DAY, FRIDAY = "Our release day is Thursday.", "Our release day is Friday."


class Office:
    """People who talk with one agent, whose branches use their tools at once."""

    def __init__(self, pool, log=None):
        self.pool = pool
        self.log = log or FakeLog()
        self.writer = Writer(self.log, FakeClock(), "branch")
        self.keeper = Keeper(self.writer, Projected(pool))
        self.members = [Member(projection, 0) for projection in PROJECTIONS]
        self.numbers = count(1)
        self.projects = True

    async def say(self, text="hello", *, who=ANA, to="alone", **fields):
        event = message(text, message_id=f"m{next(self.numbers)}", author=who, **fields)
        await self.log.append(self.place(to), self.writer.seal(event))
        await self.project()

    def place(self, conversation):
        return str(Subject("acme", "atlas", "portal", conversation))

    async def use(
        self,
        name,
        *,
        who=ANA,
        to="alone",
        key=None,
        say=None,
        run=None,
        job_told=NO_JOB,
        **arguments,
    ):
        """Have a branch of a conversation use a tool, after somebody has spoken there.

        With `job_told` it is the branch of a run of a job, whose result is told there.
        """
        if say is not None:
            await self.say(say, who=who, to=to)
        run, key = run or f"r{next(self.numbers)}", key or f"call-{next(self.numbers)}"
        tool = TOOLS[name]
        if job_told is NO_JOB:
            scope = await self.scope(to, run)
        else:
            scope = await self.job_scope(to, run, job_told)
        output = await tool.run(scope, key, msgspec.convert(arguments, tool.arguments))
        returned = ToolReturned(
            run_id=RunId(run),
            call_id=key,
            name=name,
            status="ok",
            output=output.text,
            recalled=output.recalled,
        )
        journal = str(scope.conversation.of("branch", run))
        await self.log.append(journal, self.writer.seal(returned))
        if self.projects:
            await self.project()
        return output.text

    async def job_scope(self, job, run, told):
        subject = Subject("acme", "atlas", "cron", job)
        target = Target(adapter="portal", conversation=told) if told else None
        for event in (minutely(deliver_to=target, overlap="allow"), OccurrenceFired(due_at=0)):
            envelope = self.writer.seal(event)
            await self.log.append(str(subject), envelope)
        await self.project()
        return await self.scope(job, run, adapter="cron", occurrence=envelope.id)

    async def scope(self, conversation, run="r", *, adapter="portal", occurrence=None):
        subject = Subject("acme", "atlas", adapter, conversation)
        conversations = Conversations(self.log, FakeSnapshots())
        fork = await conversations.newest(subject)
        return Scope(
            run_id=RunId(run),
            conversation=subject,
            agent="atlas",
            speaker=fork.speaker,
            source=EventId("e1"),
            since=0,
            turn=None,
            pool=self.pool,
            writer=self.writer,
            fork=fork,
            system="You are Atlas.",
            conversations=conversations,
            people=People(self.log),
            keeper=self.keeper,
            bodies=FakeBodies(),
            occurrence=occurrence,
        )

    async def project(self):
        async with self.pool.connection() as conn:
            for member in self.members:
                if new := self.log.events[member.seq :]:
                    await take_in(conn, member, new)

    @property
    def memories(self):
        kinds = MemorySaved | MemoryTouched | MemoryForgotten | MemoryLinked
        return [one.event for one in self.log.events if isinstance(one.event, kinds)]


@pytest.fixture
async def office(pool):
    office = Office(pool)
    await office.say()
    await office.say(who=BO, to="bos")
    await office.say(to="public", group=True)
    await office.say(to="members", group=True, private=True)
    return office


def id_of(output):
    return output.removeprefix("Saved as ").split(".")[0]


# -- scopes -------------------------------------------------------------------------------------


async def test_the_conversation_says_whose_a_memory_is_and_no_argument_can(office):
    for to in ("alone", "public", "members"):
        await office.use("memory_save", to=to, content=f"The {to} room is blue.", scope="tenant")
    assert [(one.scope, one.person, one.conversation) for one in office.memories] == [
        ("person", "portal:ana", "portal/alone"),
        ("agent", "portal:ana", "portal/public"),
        ("channel", "portal:ana", "portal/members"),
    ]


async def test_what_is_said_alone_is_known_elsewhere_alone_and_to_nobody_else(office):
    await office.use("memory_save", content=DAY)
    await office.say(to="other")
    assert DAY in await office.use("memory_recall", to="other", query="release day")
    assert DAY in await office.use("memory_about", to="other")
    await office.say(who=ANA, to="bos2")
    await office.say(who=BO, to="bos2")
    for to in ("bos", "public", "members", "bos2"):
        assert DAY not in await office.use("memory_recall", to=to, query="release day")
        assert DAY not in await office.use("memory_recall", to=to, mode="recent")
        assert DAY not in await office.use("memory_about", to=to)


async def test_what_is_said_in_a_private_group_stays_there(office):
    await office.use("memory_save", to="members", content=DAY)
    assert DAY in await office.use("memory_recall", to="members", query="release")
    for to in ("alone", "public", "bos"):
        assert DAY not in await office.use("memory_recall", to=to, query="release")


async def test_what_is_said_in_an_open_group_is_known_everywhere(office):
    await office.use("memory_save", to="public", content=DAY)
    for to in ("alone", "public", "members", "bos"):
        assert DAY in await office.use("memory_recall", to=to, query="release")


async def test_other_conversations_are_read_only_by_who_could_have_heard_them(office):
    await office.say("the swordfish is in the safe")
    await office.say("the herring is public", to="public", group=True)
    await office.say(to="other")
    asked = {"conversation": "portal/alone"}
    assert "swordfish" in await office.use("channel_recall", to="other", **asked)
    for to in ("bos", "public", "members"):
        answer = await office.use("channel_recall", to=to, **asked)
        assert "swordfish" not in answer
        assert "portal/alone" not in answer.removeprefix("Nothing was said there.")
        assert "herring" in await office.use("channel_recall", to=to, conversation="portal/public")


async def test_a_person_is_known_under_every_linked_id_also_back_in_time(office):
    await office.use("memory_save", content=DAY)
    await office.say(who=ANA_ON_SLACK, to="slack")
    assert DAY not in await office.use("memory_recall", to="slack", query="release")
    await link(office.writer, "acme", "slack:U1", "portal:ana")
    assert DAY in await office.use("memory_recall", to="slack", query="release")
    assert DAY in await office.use("memory_about", to="slack")
    again = await office.use("memory_save", to="slack", content=DAY)
    assert again.startswith("Known already")
    await unlink(office.writer, "acme", "slack:U1")
    assert DAY not in await office.use("memory_recall", to="slack", query="release")


# -- jobs ---------------------------------------------------------------------------------------


async def test_a_run_of_a_job_recalls_what_everybody_may_and_what_belongs_where_it_is_told(office):
    await office.use("memory_save", content="The alone room is blue.")
    await office.use("memory_save", to="members", content="The members room is red.")
    await office.use("memory_save", to="public", content="The public room is green.")
    for told, rooms in (
        ("alone", ["green"]),
        ("members", ["green", "red"]),
        ("public", ["green"]),
        (None, ["green"]),
    ):
        seen = await office.use("memory_recall", job_told=told, to="digest", query="room")
        recent = await office.use("memory_recall", job_told=told, to="digest", mode="recent")
        for colour in ("blue", "green", "red"):
            line = f"room is {colour}."
            assert [line in seen, line in recent] == [colour in rooms] * 2


async def test_a_run_of_a_job_reads_no_conversation_of_one_person(office):
    await office.say("the swordfish is in the safe")
    asked = {"conversation": "portal/alone"}
    answer = await office.use("channel_recall", job_told="alone", to="digest", **asked)
    assert "swordfish" not in answer


async def test_nobody_is_spoken_with_in_a_run_of_a_job(office):
    await office.use("memory_save", content=DAY)
    assert DAY not in await office.use("memory_about", job_told="alone", to="digest")


# -- the gate -----------------------------------------------------------------------------------


async def test_what_is_known_is_noted_and_what_contradicts_replaces(office):
    first = id_of(await office.use("memory_save", content=DAY))
    assert await office.use("memory_save", content="our release day is thursday") == (
        f"Known already, as {first}; noted that it was said again."
    )
    told = await office.use("memory_save", content=FRIDAY)
    assert told.endswith(f"It replaces {first} (contradiction).")
    found = await office.use("memory_recall", query="release day")
    assert FRIDAY in found
    assert DAY not in found


async def test_a_call_that_is_repeated_after_a_crash_changes_nothing(office):
    told = [await office.use("memory_save", content=DAY, key="k") for _ in range(2)]
    told += [await office.use("memory_save", content=FRIDAY, key="k2") for _ in range(2)]
    assert told[0] == told[1]
    assert told[2] == told[3]
    assert len(office.memories) == 3


async def test_what_a_run_was_shown_it_cannot_save_again(office):
    await office.use("memory_save", content=DAY, run="first")
    await office.use("memory_about", run="second")
    with pytest.raises(NotWorthKeeping):
        await office.use("memory_save", content="The release day is Thursday.", run="second")
    assert (await office.use("memory_save", content=DAY, run="third")).startswith("Known")


async def test_what_a_person_asks_to_remember_is_noted_though_it_was_shown(office):
    await office.use("memory_save", content=DAY)
    await office.use("memory_about", say="remember that our release day is Thursday", run="r")
    assert (await office.use("memory_save", content=DAY, run="r")).startswith("Known already")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("x " * 500_000, "at most 8,192 bytes; this has 999,999"),
        (" \n", "nothing in it to remember"),
        ("Thanks!", "small talk"),
        ("[status] It is Monday.", "text of the system"),
    ],
)
async def test_what_is_no_memory_is_refused_with_the_reason(office, content, why):
    with pytest.raises(Rejected, match=why):
        await office.use("memory_save", content=content)
    assert office.memories == []


# -- what people can do -------------------------------------------------------------------------


async def test_a_person_sees_what_came_from_him_or_her_and_who_else_may(office):
    await office.use("memory_save", content="Ana likes tea.", kind="preference")
    await office.use("memory_save", to="public", content="The demo is on Monday.")
    await office.use("memory_save", to="bos", content="Bo likes coffee.", kind="preference")
    about = await office.use("memory_about")
    assert "Ana likes tea." in about
    assert "The demo is on Monday." in about
    assert "coffee" not in about
    in_public = await office.use("memory_about", to="public")
    assert "The demo is on Monday." in in_public
    assert "tea" not in in_public
    assert await office.use("memory_about", to="members") != about


async def test_a_person_who_never_said_anything_is_told_so(office):
    assert "Nothing is remembered" in await office.use("memory_about", to="bos")


async def test_a_correction_replaces_and_a_repeated_call_of_it_changes_nothing(office):
    wrong = id_of(await office.use("memory_save", content=DAY))
    asked = {"memory_id": wrong, "content": "Our release day is the first Friday.", "key": "k"}
    told = [await office.use("memory_correct", **asked) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0].endswith(f"It replaces {wrong} (correction).")
    _, corrected, edge = office.memories
    assert (corrected.scope, corrected.person) == ("person", "portal:ana")
    assert (edge.relation, edge.to) == ("updates", wrong)
    with pytest.raises(Rejected, match="not valid any more"):
        await office.use("memory_correct", memory_id=wrong, content="Our release day is Monday.")


async def test_what_is_forgotten_is_not_recalled(office):
    saved = id_of(await office.use("memory_save", content=DAY))
    for _ in range(2):
        told = await office.use("memory_delete", memory_id=saved, reason="asked", key="k")
        assert told == f"Forgotten: {saved}."
    assert len(office.memories) == 2
    assert DAY not in await office.use("memory_recall", query="release day")
    assert "Nothing" in await office.use("memory_about")


@pytest.mark.parametrize("to", ["bos", "public", "members"])
@pytest.mark.parametrize("tool", ["memory_delete", "memory_correct"])
async def test_what_may_not_be_seen_here_can_neither_be_deleted_nor_corrected(office, tool, to):
    saved = id_of(await office.use("memory_save", content=DAY))
    more = {"content": FRIDAY} if tool == "memory_correct" else {}
    with pytest.raises(Rejected, match="There is no memory"):
        await office.use(tool, to=to, memory_id=saved, **more)
    assert len(office.memories) == 1


async def test_what_everybody_may_see_everybody_may_correct(office):
    saved = id_of(await office.use("memory_save", to="public", content=DAY))
    await office.use("memory_correct", to="bos", memory_id=saved, content=FRIDAY)
    corrected = office.memories[1]
    assert (corrected.scope, corrected.person) == ("agent", "portal:bo")
    assert FRIDAY in await office.use("memory_recall", to="public", query="release day")


# -- faults -------------------------------------------------------------------------------------


async def test_what_is_saved_while_the_database_is_away_is_saved_once(own_postgres, database_of):
    office = await database_of(own_postgres)
    await office.say()
    await own_postgres.stop()
    office.projects = False
    for _ in range(2):
        await office.use("memory_save", content=DAY, key="k")
    await own_postgres.start()
    office.projects = True
    await office.use("memory_save", content=DAY, key="k")
    assert len(office.memories) == 1


async def test_before_the_read_models_are_made_the_log_tells_what_is_known(database_url):
    pool = await database.connect(database_url)
    office = Office(pool)
    office.projects = False
    await office.log.append(office.place("alone"), office.writer.seal(message("hello")))
    for key in ("k", "l"):
        await office.use("memory_save", content=DAY, key=key)
    assert [type(event) for event in office.memories] == [MemorySaved, MemoryTouched]
    await pool.close()


@pytest.fixture
async def database_of():
    pools = []

    async def make(server):
        pool = await database.connect(server.url, wait_s=2.0)
        pools.append(pool)
        await database.migrate(pool, MIGRATIONS)
        return Office(pool)

    yield make
    for pool in pools:
        await pool.close()


async def test_two_branches_that_save_the_same_at_once_give_one_memory_on_a_real_log(
    pool, empty_nats_url
):
    connection = await Connection.open(empty_nats_url, name="test")
    log = JetStreamLog(connection)
    await log.create(replicas=1)
    try:
        offices = [Office(pool, log) for _ in range(4)]
        event = message("hello", author=ANA)
        await log.append(offices[0].place("alone"), offices[0].writer.seal(event))
        save = TOOLS["memory_save"]
        scopes = [
            await office.scope("alone", run) for office, run in zip(offices, "abcd", strict=True)
        ]
        texts = (DAY, DAY, FRIDAY, DAY)
        told = await asyncio.gather(
            *(
                save.run(scope, scope.run_id, save.arguments(content=text))
                for scope, text in zip(scopes, texts, strict=True)
            )
        )
        events = [one.event async for one in log.read(memory_subject(PLACE), fresh=True)]
    finally:
        await connection.close()
    assert len(told) == 4
    saved = [one for one in events if isinstance(one, MemorySaved)]
    replaced = {old.memory_id for one in saved for old in one.replaces}
    assert len({one.memory_id for one in saved} - replaced) == 1
