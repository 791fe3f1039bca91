"""A fork is begun once, whatever dies, and answers for itself; nothing else hears of it."""

import asyncio

import pytest

from schemas.base import BodyRef, EventId, RunId
from schemas.channel import BranchConcluded, ConversationForked, MessageReceived, ReplySent
from schemas.memory import MemorySaved
from schemas.schedule import JobDefined
from schemas.subjects import FORK
from schemas.tasks import TaskCreated
from services.branch.scope import Scope
from services.errors import Rejected
from services.memory import audience
from services.memory.identities import Identities
from services.memory.people import People
from services.runtime.agents import Agents, UnknownAgent
from services.runtime.forking import Fork, Forked, Forking, UnknownConversation, new_name
from services.runtime.parting import InvalidFork
from services.runtime.writer import Writer
from tests.support.builders import ANA, BEN, CONVERSATION, persistence
from tests.support.crashes import Scenario, at_every_point, channel_story, tell
from tests.support.replicas import Deliveries, Killed, Shared
from tests.support.scripted_model import by_prompt, calls, does, says

THERE = CONVERSATION._replace(adapter=FORK, conversation="there")
BRAIN = by_prompt(
    {
        "[Ana] one": [says("to one")],
        "[Ana] two": [says("to two")],
        "[Ana] three": [says("to three")],
        "[Ana] instead": [says("to that")],
        "[Ben] instead": [says("to Ben")],
        "[Ana] think": [does(calls("branch", task="think hard"), calls("reply", text="I think."))],
        "[task] think hard": [says("thought")],
        "[result of branch": [does(calls("reply", text="Thought."))],
        "[Ana] change it all": [
            does(calls("schedule", action="create", job="daily", prompt="look", every="1d")),
            does(calls("branch", task="save and plan")),
            says("Done."),
        ],
        "[task] save and plan": [
            does(
                calls("memory_save", content="The release day is Thursday."),
                calls("task_create", title="Release"),
            ),
            says("It did not go."),
        ],
    }
)


def forking(shared, log=None) -> Forking:
    log = log or shared.log
    return Forking(Writer(log, shared.clock, "api"), shared.bodies, Agents(shared.log))


async def talked(*texts) -> tuple[Shared, Deliveries]:
    """Return a conversation in which each of these was answered."""
    shared = Shared(BRAIN)
    await shared.define()
    deliveries = Deliveries(shared)
    for text in texts:
        await shared.say(text)
        await deliveries.settle()
    shared.model.requests.clear()
    return shared, deliveries


async def fork(shared, **wanted) -> Forked:
    return await forking(shared).begin(CONVERSATION, Fork(name="there", **wanted))


def events(shared, subject=THERE, kind=object):
    return [
        it.event
        for it in shared.log.events
        if it.subject == str(subject) and isinstance(it.event, kind)
    ]


def replies(shared, subject=THERE):
    return [event.text for event in events(shared, subject, ReplySent)]


def id_of(shared, text) -> EventId:
    return next(
        it.envelope.id
        for it in shared.log.events
        if isinstance(it.event, MessageReceived) and it.event.text == text
    )


# -- what it answers --------------------------------------------------------------------------


async def test_a_message_is_answered_again_with_another_model_and_prompt():
    shared, deliveries = await talked("one", "two", "three")
    before = [*shared.log.events]
    begun = await fork(shared, at="message 3", model="scripted/two", prompt="Be a poet.")
    await deliveries.settle()
    assert (begun.of, begun.answers) == ("portal/general", "unanswered")
    assert replies(shared) == ["to three"]
    (request,) = shared.model.requests
    assert request.model == "scripted/two"
    assert "Be a poet." in request.messages[0].content
    assert "Be brief." not in request.messages[0].content
    assert shared.log.events[: len(before)] == before
    assert [it.subject for it in shared.log.events[len(before) :] if FORK not in it.subject] == []


async def test_the_request_has_the_bytes_of_the_other_conversation_first():
    shared, deliveries = await talked("one", "two")
    await shared.say("three")
    await deliveries.settle()
    (there,) = shared.model.requests
    shared.model.requests.clear()
    await fork(shared, at="message 3", model="scripted/two")
    await deliveries.settle()
    (here,) = shared.model.requests
    assert here.messages[:6] == there.messages[:6]  # prompt, two exchanges, the third message
    assert here.tools == there.tools
    assert [one.content for one in here.messages[1:6]] == [
        "[Ana] one",
        "to one",
        "[Ana] two",
        "to two",
        "[Ana] three",
    ]


async def test_where_all_was_answered_what_was_said_next_is_asked_again():
    shared, deliveries = await talked("one", "two")
    begun = await fork(shared, at=id_of(shared, "one"))
    assert begun.answers == "unanswered"
    other = await forking(shared).begin(
        CONVERSATION, Fork(name="again", at=str(_end_of(shared, "to one")))
    )
    await deliveries.settle()
    assert other.answers == "next"
    again = THERE._replace(conversation="again")
    (said,) = events(shared, again, MessageReceived)
    (original,) = [it for it in events(shared, CONVERSATION, MessageReceived) if it.text == "two"]
    assert (said.text, said.author) == (original.text, original.author)
    assert said.message_id != original.message_id
    assert replies(shared, again) == ["to two"]


def _end_of(shared, reply) -> int:
    return next(
        it.seq
        for it in shared.log.events
        if isinstance(it.event, ReplySent) and it.event.text == reply
    )


@pytest.mark.parametrize(
    ("author", "reply"), [(None, "to that"), (BEN, "to Ben")], ids=["as the last", "as another"]
)
async def test_something_else_can_be_said(author, reply):
    shared, deliveries = await talked("one", "two")
    begun = await fork(shared, at=str(_end_of(shared, "to one")), message="instead", author=author)
    await deliveries.settle()
    assert begun.answers == "message"
    assert replies(shared) == [reply]
    assert events(shared, THERE, MessageReceived)[0].author == (author or ANA)


async def test_a_long_prompt_is_kept_by_reference_and_shown_in_full():
    shared, deliveries = await talked("one")
    prompt = "Be a poet. " * 2_000
    await fork(shared, message="think", prompt=prompt)
    await deliveries.settle()
    (begun,) = events(shared, THERE, ConversationForked)
    assert isinstance(begun.prompt, BodyRef)
    assert all(prompt.strip() in it.messages[0].content for it in shared.model.requests)


async def test_a_prompt_that_is_lost_ends_turns_and_branches_with_that_reason():
    shared, deliveries = await talked("one")
    await fork(shared, message="think", prompt="Be a poet. " * 2_000)
    (begun,) = events(shared, THERE, ConversationForked)
    lost = shared.bodies.bodies.pop(begun.prompt.sha256)
    await deliveries.settle()
    (apology,) = replies(shared)
    assert "is not in the store" in apology
    shared.bodies.bodies[begun.prompt.sha256] = lost

    async def lose(replica, point):
        if point.what == "branch_requested":
            shared.bodies.bodies.pop(begun.prompt.sha256, None)

    shared.hook = lose
    await shared.say("think", subject=THERE)
    await deliveries.settle()
    assert (events(shared, THERE, BranchConcluded)[0]).outcome == "failed"


async def test_a_fork_of_a_fork_goes_on_where_that_one_was():
    shared, deliveries = await talked("one")
    await fork(shared, message="two", model="scripted/two")
    await deliveries.settle()
    further = await forking(shared).begin(THERE, Fork(name="further", message="three"))
    await deliveries.settle()
    assert further.of == "fork/there"
    assert replies(shared, THERE._replace(conversation="further")) == ["to three"]
    request = shared.model.requests[-1]
    assert request.model == "scripted/two"
    assert [it.content for it in request.messages[1:6:2]] == [
        "[Ana] one",
        "[Ana] two",
        "[Ana] three",
    ]


async def test_what_a_fork_of_a_fork_shares_with_both_is_shared_with_the_first():
    shared, deliveries = await talked("one")
    await fork(shared, message="two")
    await deliveries.settle()
    begun = await forking(shared).begin(THERE, Fork(at="message 1", message="instead"))
    assert begun.of == "portal/general"


async def test_branches_in_a_fork_ask_its_model_and_follow_its_prompt():
    shared, deliveries = await talked("one")
    await fork(shared, message="think", model="scripted/two", prompt="Be a poet.")
    await deliveries.settle()
    assert replies(shared) == ["I think.", "Thought."]
    assert {request.model for request in shared.model.requests} == {"scripted/two"}
    assert all("Be a poet." in it.messages[0].content for it in shared.model.requests)
    shared.model.requests.clear()
    await shared.say("think")
    await deliveries.settle()
    assert {request.model for request in shared.model.requests} == {"scripted/one"}


# -- what it does not do ----------------------------------------------------------------------


async def test_memories_tasks_and_jobs_are_not_changed_from_a_fork():
    shared, deliveries = await talked("one")
    await fork(shared, message="change it all")
    await deliveries.settle()
    told = [it.event for it in shared.log.events]
    assert not [it for it in told if isinstance(it, MemorySaved | TaskCreated | JobDefined)]
    seen = [m.content for request in shared.model.requests for m in request.messages]
    refused = {text for text in seen if text.startswith("Refused: This conversation is a fork")}
    assert len(refused) == 1
    assert sum(text in refused for text in seen) >= 3


async def test_nothing_is_looked_through_in_a_fork():
    shared, deliveries = await talked("one")
    await fork(shared, message="two")
    await deliveries.settle()
    state = await deliveries.replica.conversations.newest(THERE)
    assert state.unsaved == type(state.unsaved)()
    assert await deliveries.replica.look(THERE) is None
    assert not [
        it for it in shared.log.events if getattr(it.event, "purpose", "") == persistence().purpose
    ]


async def test_a_fork_hears_as_the_conversation_that_it_began_in_and_nobody_hears_it():
    shared, deliveries = await talked("one")
    await fork(shared, message="two")
    conversations = deliveries.replica.conversations
    there, here = [await conversations.newest(it) for it in (THERE, CONVERSATION)]
    identities = Identities()
    assert audience.of(there, THERE, identities) == audience.of(here, CONVERSATION, identities)
    of_parent = _scope(deliveries, CONVERSATION, here)
    assert not await of_parent.may_read(THERE)
    assert await _scope(deliveries, THERE, there).may_read(CONVERSATION)
    assert await _scope(deliveries, THERE, there).may_read(THERE)


def _scope(deliveries, conversation, state) -> Scope:
    replica = deliveries.replica
    writer = replica.branches._with.writer
    return Scope(
        run_id=RunId("b1"),
        conversation=conversation,
        agent="atlas",
        speaker=state.speaker,
        source=state.at,
        since=state.seq,
        turn=None,
        pool=None,
        writer=writer,
        fork=state,
        system="",
        conversations=replica.conversations,
        people=People(writer.log),
        keeper=replica.branches._keeper,
        bodies=replica.shared.bodies,
    )


async def test_a_fork_that_was_imported_without_its_history_waits_for_it():
    whole, _ = await talked("one")
    await fork(whole, message="two")
    mine = [it for it in whole.log.events if it.subject == str(THERE)]
    theirs = [it for it in whole.log.events if it.subject == str(CONVERSATION)]
    shared = Shared(BRAIN)
    await shared.define()
    deliveries = Deliveries(shared)
    for recorded in mine:
        await shared.log.append(recorded.subject, recorded.envelope)
    await deliveries.settle()  # it is acknowledged: nothing is parked, nobody tries for ever
    assert replies(shared) == []
    for recorded in theirs:
        await shared.log.append(recorded.subject, recorded.envelope)
    await shared.say("three", subject=THERE)
    await deliveries.settle()
    (request,) = shared.model.requests
    assert [it.content for it in request.messages[1:5]] == [
        *("[Ana] one", "to one", "[Ana] two", "[Ana] three")
    ]
    assert replies(shared) == ["to three"]


# -- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "says_"),
    [
        ({"at": "message 9"}, "people said 1"),
        ({"at": "999"}, "ends at"),
        ({}, "say what"),
        ({"message": "  "}, "the message is empty"),
        ({"prompt": "\n"}, "the prompt is empty"),
        ({"model": " "}, "the model is empty"),
        ({"model": "x" * 70_000, "message": "two"}, "the model has more than"),
        ({"model": "some/mod\nel", "message": "two"}, "visible"),
        ({"name": "x" * 65, "message": "two"}, "named"),
        ({"name": "a\x07b", "message": "two"}, "visible"),
        ({"message": "x" * 5_000_000}, "bytes"),
    ],
)
async def test_what_cannot_be_forked_says_why_and_leaves_nothing(wanted, says_):
    shared, _ = await talked("one")
    before = len(shared.log.events)
    with pytest.raises(InvalidFork, match=says_):
        await forking(shared).begin(CONVERSATION, Fork(**wanted))
    assert len(shared.log.events) == before


async def test_there_is_no_fork_of_what_was_never_said():
    shared, _ = await talked("one")
    with pytest.raises(UnknownConversation, match="portal/nowhere"):
        await forking(shared).begin(CONVERSATION._replace(conversation="nowhere"), Fork())
    with pytest.raises(UnknownConversation):
        await forking(shared).begin(CONVERSATION._replace(conversation="x" * 99), Fork())
    with pytest.raises(UnknownAgent):
        await forking(shared).begin(CONVERSATION._replace(agent="nobody"), Fork())


def test_every_fork_has_a_name_of_its_own():
    assert new_name("terminal") != new_name("terminal")
    assert new_name("terminal").startswith("terminal-")
    assert len(new_name("X" * 32)) == 8  # too long as a token with more behind it


# -- twice ------------------------------------------------------------------------------------


async def test_the_same_asked_twice_is_one_fork():
    shared, deliveries = await talked("one", "two")
    asked = {"at": "message 1", "message": "instead"}
    first = await fork(shared, **asked)
    await deliveries.settle()
    assert await fork(shared, **asked) == first
    shared.log._ids.clear()
    assert await fork(shared, **asked) == first
    await deliveries.settle()
    assert len(events(shared, THERE, ConversationForked)) == 1
    assert len(events(shared, THERE, MessageReceived)) == 1
    assert len(replies(shared)) == 1


async def test_the_same_asked_twice_is_one_fork_though_the_conversation_went_on():
    shared, deliveries = await talked("one")
    first = await fork(shared, message="two")
    await shared.say("three")
    await deliveries.settle()
    assert await fork(shared, message="two") == first
    with pytest.raises(Rejected, match="another fork"):
        await fork(shared, message="three")


async def test_a_fork_in_which_something_was_said_is_another_than_one_in_which_nothing_was():
    shared, _ = await talked("one")
    await fork(shared, at="message 1", message="instead")
    with pytest.raises(Rejected, match="another fork called 'there'"):
        await fork(shared, at="message 1")
    assert len(events(shared, kind=MessageReceived)) == 1


@pytest.mark.parametrize("forgets", [True, False], ids=["much later", "at once"])
@pytest.mark.parametrize(
    "other",
    [
        {"at": "message 2", "message": "instead"},
        {"at": "message 1", "message": "two"},
        {"at": "message 1", "message": "instead", "model": "scripted/two"},
    ],
)
async def test_another_fork_of_the_same_name_is_refused(other, forgets):
    shared, _ = await talked("one", "two")
    await fork(shared, at="message 1", message="instead")
    if forgets:
        shared.log._ids.clear()
    before = len(shared.log.events)
    with pytest.raises(Rejected, match="another fork called 'there'"):
        await fork(shared, **other)
    assert len(shared.log.events) == before


async def test_the_same_asked_by_many_at_once_is_one_fork():
    shared, _ = await talked("one")
    begun = await asyncio.gather(*(fork(shared, message="two") for _ in range(8)))
    assert len({it.seq for it in begun}) == 1
    assert len(events(shared, THERE)) == 2


# -- crashes ----------------------------------------------------------------------------------


async def _forked(deliveries) -> None:
    """Talk, then fork by a process that may die, as often as it takes."""
    shared = deliveries.shared
    for text in ("one", "two"):
        await shared.say(text)
        await deliveries.settle()
    while True:
        try:
            service = forking(shared, deliveries.replica.log)
            await service.begin(CONVERSATION, Fork(name="there", at="message 1", message="think"))
        except Killed:
            shared.log._ids.clear()
            deliveries.replica = type(deliveries.replica)(shared)
        else:
            break
    await deliveries.settle()


async def test_a_crash_at_any_point_makes_one_fork_and_one_answer(tmp_path):
    scenario = Scenario(BRAIN, _forked)
    assert await at_every_point(scenario, tmp_path) >= 40


async def test_the_undisturbed_fork(tmp_path):
    told = await tell(Scenario(BRAIN, _forked), tmp_path)
    types = [line.split('"')[3] for line in channel_story(told)]
    assert types[types.index("conversation_forked") :] == [
        "conversation_forked",
        "message_received",
        "turn_started",
        "branch_requested",
        "reply_sent",
        "turn_completed",
        "branch_concluded",
        "turn_started",
        "reply_sent",
        "turn_completed",
    ]
