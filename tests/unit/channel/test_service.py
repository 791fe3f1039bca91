"""A conversation in the hands of the channel: what is answered when, with what, and how it ends."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from schemas.base import AgentId
from schemas.channel import MessageReceived, ReplySent, TurnCompleted, TurnFailed, TurnStarted
from schemas.config import AgentRetired
from schemas.run import ModelCalled, ToolReturned
from services.channel.service import DURABLE, PATTERN, TRIGGERS
from services.errors import ModelRefused, ModelUnavailable
from services.runtime.agents import Agents, UnknownAgent, config_subject
from services.runtime.bodies import reference
from services.runtime.config import ChannelSettings
from services.runtime.event_log import Delivery
from tests.support.builders import (
    BEN,
    CONVERSATION,
    SECOND,
    START,
    branch_concluded,
    retry,
    worker_reported,
)
from tests.support.replicas import Deliveries, Replica, Shared
from tests.support.scripted_model import ScriptedModel, calls, does, says


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


@pytest.fixture
async def talk(tmp_path):
    talk = Talk(Shared(place=tmp_path))
    await talk.shared.define()
    return talk


class Talk:
    """A conversation with a scripted model."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.model: ScriptedModel = shared.model
        self.deliveries = Deliveries(shared)

    def script(self, *answers) -> None:
        self.model.queued += answers

    async def say(self, text, *, settle=True, **fields) -> None:
        await self.shared.say(text, **fields)
        if settle:
            await self.deliveries.settle()

    async def append(self, event, *, settle=True) -> None:
        envelope = self.shared.outside.seal(event)
        await self.shared.log.append(str(CONVERSATION), envelope)
        if settle:
            await self.deliveries.settle()

    def events(self, *kinds):
        return [r.event for r in self.shared.log.events if isinstance(r.event, kinds)]

    @property
    def replies(self):
        return [event.text for event in self.events(ReplySent)]

    @property
    def ends(self):
        return [
            event.outcome if isinstance(event, TurnCompleted) else "failed"
            for event in self.events(TurnCompleted, TurnFailed)
        ]

    @property
    def note(self):
        """What the model was last told about time and work."""
        notes = [
            message.content
            for message in self.model.requests[-1].messages
            if message.content.startswith("[status]")
        ]
        return notes[-1]

    def handled(self):
        """Return what was handled, as texts of messages and types of results."""
        by_id = {r.envelope.id: r for r in self.shared.log.events}
        return [
            [
                event.text if isinstance(event, MessageReceived) else by_id[id_].envelope.type
                for id_ in end.handled
                for event in (by_id[id_].event,)
            ]
            for end in self.events(TurnCompleted, TurnFailed)
        ]


async def until(condition) -> None:
    """Let everybody go on until something holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0)


# -- answers ----------------------------------------------------------------------------------


async def test_a_message_is_answered(talk):
    talk.script(does(calls("reply", text="hi")))
    await talk.say("hello")
    assert (talk.replies, talk.ends, talk.handled()) == (["hi"], ["replied"], [["hello"]])


async def test_plain_words_are_a_reply(talk):
    talk.script(says("hi"))
    await talk.say("hello")
    assert talk.replies == ["hi"]


async def test_words_beside_a_reply_are_not_sent_too(talk):
    talk.script(says("I will greet.", calls("reply", text="hi")))
    await talk.say("hello")
    assert talk.replies == ["hi"]


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        pytest.param([does(calls("skip"))], "skipped", id="silence"),
        pytest.param([says("aside", calls("skip"))], "skipped", id="silence beside words"),
        pytest.param([does(calls("react", emoji="👍"), calls("skip"))], "replied", id="a reaction"),
    ],
)
async def test_a_turn_without_words_says_how_it_came_out(talk, answers, outcome):
    talk.script(*answers)
    await talk.say("hello")
    assert (talk.replies, talk.ends) == ([], [outcome])


async def test_a_turn_that_only_delegates_is_silent_at_its_limit(talk):
    talk.script(*[does(calls("cancel", run_id=str(number))) for number in range(5)])
    await talk.say("hello")
    assert talk.ends == ["silent"]
    assert talk.events(TurnCompleted)[0].reason == "the limit of 5 model calls was reached"


async def test_a_turn_that_ends_at_its_limit_says_what_it_has(talk):
    some = [says(f"words {n}", calls("cancel", run_id=str(n))) for n in range(5)]
    talk.script(*some)
    await talk.say("hello")
    assert (talk.replies, talk.ends) == (["words 4"], ["replied"])


async def test_the_agents_model_is_asked(talk):
    talk.script(says("hi"))
    await talk.say("hello")
    assert talk.model.requests[0].model == "scripted/one"


async def test_what_was_handled_already_is_left_alone(talk):
    talk.script(says("hi"))
    await talk.say("hello")
    replica = talk.deliveries.replica
    (first,) = [r for r in talk.shared.log.events if r.envelope.type == "message_received"]
    await replica.channel.handle(Delivery(first, 1))
    await replica.channel.handle(Delivery(first, 2))
    assert talk.ends == ["replied"]


async def test_the_same_message_from_the_platform_five_times_is_answered_once(talk):
    talk.script(says("hi"))
    for _ in range(5):
        await talk.say("hello", message_id="m1")
    assert (talk.replies, len(talk.model.requests)) == (["hi"], 1)


# -- coalescing -------------------------------------------------------------------------------


async def test_in_a_room_of_two_an_answer_comes_at_once(talk):
    talk.script(says("hi"))
    await talk.say("hello")
    assert talk.shared.clock.slept == []


async def test_in_a_group_the_answer_waits_for_a_pause(talk):
    more = ["two", "three"]

    async def go_on():
        if more:
            talk.shared.clock.advance(1.0)  # a burst: a second apart
            await talk.say(more.pop(0), settle=False, group=True, author=BEN)
            talk.shared.clock.advance(-1.0)

    talk.shared.clock.during_sleep = go_on
    talk.script(says("hi, all"))
    await talk.say("one", group=True)
    assert (talk.replies, talk.handled()) == (["hi, all"], [["one", "two", "three"]])
    shown = [message.content for message in talk.model.requests[0].messages[1:4]]
    assert shown == ["[Ana] one", "[Ben] two", "[Ben] three"]
    assert talk.shared.clock.now() == START + 4 * SECOND  # the last at 2.5 s, then a pause


async def test_a_lively_group_is_still_answered(talk):
    number = [0]

    async def go_on():
        number[0] += 1
        talk.shared.clock.advance(1.0)
        await talk.say(f"more {number[0]}", settle=False, group=True)
        talk.shared.clock.advance(-1.0)

    talk.shared.clock.during_sleep = go_on
    talk.script(says("hi, all"), says("and all others"))
    await talk.say("one", group=True, settle=False)
    first = Deliveries(talk.shared)
    first._take_in()
    settling = asyncio.create_task(first.deliver(first._owed.popleft()))
    await until(lambda: talk.model.requests)
    talk.shared.clock.during_sleep = None
    assert talk.shared.clock.now() <= START + round(6.5 * SECOND)
    await settling


async def test_results_that_come_together_are_told_together(talk):
    talk.script(
        does(calls("branch", task="one"), calls("branch", task="two"), calls("skip")),
        says("both known"),
    )
    await talk.say("hello", settle=False)
    replica = Replica(talk.shared)
    message = talk.shared.log.events[-1]
    await replica.channel.handle(Delivery(message, 1))
    runs = [r.event.run_id for r in talk.shared.log.events if r.envelope.type == "branch_requested"]
    late = [runs[1]]

    async def conclude():
        if late:
            await talk.append(branch_concluded(late.pop()), settle=False)

    talk.shared.clock.during_sleep = conclude
    await talk.append(branch_concluded(runs[0]), settle=False)
    await replica.channel.handle(Delivery(talk.shared.log.events[-1], 1))
    assert talk.handled() == [["hello"], ["branch_concluded", "branch_concluded"]]
    assert talk.replies == ["both known"]


async def test_a_message_that_comes_while_the_model_thinks_is_for_the_next_turn(talk):
    async def interrupt(replica, point):
        if (point.when, point.what) == ("before", "model") and len(talk.model.requests) == 0:
            talk.shared.hook = _nothing
            await talk.say("and?", settle=False)

    talk.shared.hook = interrupt
    talk.script(says("hi"), says("and this"))
    await talk.say("hello")
    assert (talk.replies, talk.handled()) == (["hi", "and this"], [["hello"], ["and?"]])


async def _nothing(replica, point):
    pass


# -- turns without people ---------------------------------------------------------------------


async def test_a_turn_about_results_has_fewer_model_calls(talk):
    talk.script(does(calls("spawn_worker", task="x", interactive=True), calls("skip")))
    replica = Replica(talk.shared)
    await talk.say("hello", settle=False)
    await replica.channel.handle(Delivery(talk.shared.log.events[-1], 1))
    run = next(
        r.event.run_id for r in talk.shared.log.events if r.envelope.type == "worker_requested"
    )
    talk.script(*[does(calls("cancel", run_id=f"no {number}")) for number in range(3)])
    await talk.append(worker_reported(run), settle=False)
    await replica.channel.handle(Delivery(talk.shared.log.events[-1], 1))
    assert talk.events(TurnCompleted)[1].reason == "the limit of 3 model calls was reached"


async def test_an_agent_that_delegates_for_ever_is_stopped(talk):
    def delegates(request):
        return (
            says("known")
            if request.kind == "branch"
            else does(calls("branch", task="again"), calls("skip"))
        )

    talk.model.brain = delegates
    await talk.say("hello")
    assert talk.ends == ["skipped"] * (1 + ChannelSettings().max_retriggers)
    state = await talk.deliveries.replica.conversations.newest(CONVERSATION)
    assert len(state.unhandled) == 1


# -- what is going on -------------------------------------------------------------------------


async def test_the_note_tells_time_and_that_nothing_is_active(talk):
    talk.script(says("hi"))
    await talk.say("hello")
    assert talk.note == (
        "[status] It is Tuesday, 2023-11-14 22:13 UTC.\nNo branches or workers are active."
    )


async def test_the_note_tells_what_is_active_for_how_long(talk):
    talk.script(
        does(
            calls("branch", task="think"),
            calls("spawn_worker", task="build it", interactive=True),
            calls("skip"),
        )
    )
    replica = Replica(talk.shared)
    replica.channel._with = replace(replica.channel._with, statuses=Statuses())
    await talk.say("hello", settle=False)
    await replica.channel.handle(Delivery(talk.shared.log.events[-1], 1))
    branch, worker = (
        r.event.run_id
        for r in talk.shared.log.events
        if r.envelope.type in {"branch_requested", "worker_requested"}
    )
    talk.shared.clock.advance(42)
    await talk.append(worker_reported(worker), settle=False)
    talk.script(says("hi"))
    await talk.say("and?", settle=False)
    await replica.channel.handle(Delivery(talk.shared.log.events[-1], 1))
    assert talk.note.split("\n")[1:] == [
        "Active:",
        f"- branch {branch}: think | no status yet | running 42 s",
        f"- worker {worker}: build it | compiling | waiting for input",
    ]


class Statuses:
    async def of(self, tenant, run_ids):
        return dict.fromkeys(run_ids, "compiling")


# -- failure ----------------------------------------------------------------------------------


async def test_a_model_that_is_away_for_a_while_delays_the_answer(talk):
    talk.script(*[ModelUnavailable("busy")] * 4, says("hi"))
    await talk.say("hello")
    assert (talk.replies, talk.ends) == (["hi"], ["replied"])


async def test_a_model_that_stays_away_is_admitted(talk):
    talk.script(*[ModelUnavailable("the provider is overloaded.")] * 5)
    await talk.say("hello")
    apology = (
        "I could not answer this: the provider is overloaded. Nothing is lost; it is on the "
        "dead-letter list and can be tried again."
    )
    assert talk.replies == [apology]
    (failed,) = talk.events(TurnFailed)
    assert (failed.attempts, talk.handled()) == (5, [["hello"]])


async def test_results_are_not_lost_when_the_model_stays_away(talk):
    """A turn about results has three calls of the model, and five attempts all the same."""
    talk.script(does(calls("branch", task="x"), calls("skip")), says("known"))
    talk.script(*[ModelUnavailable("busy")] * 5)
    await talk.say("hello")
    assert talk.ends == ["skipped", "failed"]
    assert talk.handled()[1] == ["branch_concluded"]


async def test_a_refused_request_is_admitted_at_once(talk):
    talk.script(ModelRefused("the key is wrong"))
    await talk.say("hello")
    assert (talk.ends, len(talk.model.requests)) == (["failed"], 1)
    assert "the key is wrong" in talk.replies[0]


async def test_a_failed_turn_can_be_tried_again(talk):
    talk.script(ModelRefused("the key is wrong"))
    await talk.say("hello")
    talk.script(says("hi"))
    (failed,) = talk.events(TurnFailed)
    await talk.append(retry(failed.turn_id))
    assert (talk.replies[1:], talk.ends) == (["hi"], ["failed", "replied"])
    assert talk.handled() == [["hello"], ["hello"]]


async def test_a_turn_that_kills_its_process_again_and_again_is_given_up(talk):
    async def die(replica, point):
        if point.what == "model":
            replica.kill()

    talk.shared.hook = die
    await talk.say("hello")
    assert talk.ends == ["failed"]
    assert len(talk.model.requests) == 0
    assert talk.events(TurnFailed)[0].attempts == ChannelSettings().attempts


async def test_an_agent_that_is_gone_is_admitted(talk):
    retired = AgentRetired(agent=AgentId("atlas"))
    await talk.shared.log.append(config_subject("acme"), talk.shared.outside.seal(retired))
    await talk.say("hello")
    assert talk.ends == ["failed"]
    assert "has no agent 'atlas'" in talk.replies[0]


async def test_a_conversation_goes_on_when_something_of_it_is_lost_for_good(talk):
    long = "x" * 20_000

    async def die_and_lose_the_answer(replica, point):
        if (point.when, point.what) == ("before", "tool_called"):
            talk.shared.bodies.bodies.pop(reference(long.encode()).sha256)
            talk.shared.hook = _nothing
            replica.kill()

    talk.shared.hook = die_and_lose_the_answer
    talk.script(says(long, calls("cancel", run_id="x")))
    await talk.say("hello")
    assert talk.ends == ["failed"]
    talk.script(says("hi"))
    await talk.say("and now?")
    assert talk.ends == ["failed", "replied"]


async def test_a_tool_that_refuses_is_the_models_to_deal_with(talk):
    talk.script(does(calls("cancel", run_id="nobody")), says("there is none"))
    await talk.say("stop it")
    assert [result.status for result in talk.events(ToolReturned)] == ["refused"]
    assert talk.replies == ["there is none"]


# -- many at once -----------------------------------------------------------------------------


async def test_replicas_share_conversations_and_each_is_answered_in_order(talk):
    def echoes(request):
        told = [m.content for m in request.messages if m.content.startswith("[Ana] ")]
        return does(calls("reply", text=f"{len(told)}"))

    talk.model.brain = echoes
    stop = asyncio.Event()
    replicas = [Replica(talk.shared) for _ in range(3)]
    consuming = [
        asyncio.create_task(
            talk.shared.log.consume(
                DURABLE, [PATTERN], replica.channel.handle, types=TRIGGERS, stop=stop
            )
        )
        for replica in replicas
    ]
    for number in range(6):
        for room in range(5):
            await talk.shared.say(
                f"{number}",
                subject=CONVERSATION._replace(conversation=f"room {room}"),
                message_id=f"m{number}",
            )
    await until(lambda: sum(len(end.handled) for end in talk.events(TurnCompleted)) == 30)
    stop.set()
    await asyncio.gather(*consuming)
    for room in range(5):
        subject = str(CONVERSATION._replace(conversation=f"room {room}"))
        mine = [r for r in talk.shared.log.events if r.subject == subject]
        seqs = {r.envelope.id: r.seq for r in mine}
        handled = [
            seqs[i] for r in mine if isinstance(r.event, TurnCompleted) for i in r.event.handled
        ]
        assert handled == [r.seq for r in mine if isinstance(r.event, MessageReceived)]
        assert len(handled) == 6
    assert len(talk.events(TurnStarted)) == len(talk.events(TurnCompleted)) == len(talk.replies)
    assert len(talk.events(ModelCalled)) == len(talk.model.requests)


async def test_eight_deliveries_of_one_message_give_one_turn(talk):
    talk.model.brain = lambda request: says("hi")
    await talk.shared.say("hello")
    replicas = [Replica(talk.shared) for _ in range(8)]
    message = talk.shared.log.events[-1]
    await asyncio.gather(
        *(replica.channel.handle(Delivery(message, 1)) for replica in replicas),
        return_exceptions=True,
    )
    assert (talk.replies, talk.ends, len(talk.model.requests)) == (["hi"], ["replied"], 1)


async def test_a_turn_whose_agent_goes_while_it_runs_is_given_up(talk):
    class Fickle(Agents):
        asked = 0

        async def get(self, tenant, agent):
            self.asked += 1
            if self.asked > 1:
                raise UnknownAgent("it is gone")
            return await super().get(tenant, agent)

    channel = talk.deliveries.replica.channel
    channel._with = replace(channel._with, agents=Fickle(talk.shared.log))
    await talk.say("hello")
    assert talk.ends == ["failed"]
    assert "it is gone" in talk.replies[0]


async def test_a_clock_that_is_ahead_elsewhere_makes_nobody_wait_for_it(talk):
    """The message was stamped by a machine whose clock is an hour ahead of ours."""
    talk.script(says("hi"))
    talk.shared.clock.advance(3_600)
    await talk.say("hello", group=True, settle=False)
    talk.shared.clock.advance(-3_600)
    await talk.deliveries.settle()
    assert talk.ends == ["replied"]
    assert sum(talk.shared.clock.slept) <= 5
