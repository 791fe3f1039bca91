"""What the agent has in mind stands at the end of its system prompt, and changes with it alone."""

import pytest

from schemas.cortex import BriefingWritten, Layer, Line, PersonKnown
from schemas.run import ModelCalled
from services.errors import ModelUnavailable
from services.runtime.briefings import FRESH_S, subject_of
from tests.support.builders import ANA, BEN, CONVERSATION
from tests.support.replicas import Deliveries, Replica, Shared, nothing
from tests.support.scripted_model import calls, does, says


@pytest.fixture
async def shared(tmp_path):
    shared = Shared(lambda request: says("Yes."), place=tmp_path)
    await shared.define()
    return shared


async def brief(shared, text, *, people=()) -> None:
    line = Line(text=text)
    event = BriefingWritten(layers=(Layer(name="identity", lines=(line,)),), people=people)
    subject = str(subject_of("acme", "atlas", "briefing"))
    await shared.log.append(subject, shared.outside.seal(event))
    shared.clock.advance(FRESH_S)


def prompts(shared) -> list[str]:
    return [r.messages[0].content for r in shared.model.requests if r.kind == "turn"]


async def test_without_a_briefing_the_prompt_is_what_it_always_was(shared):
    await shared.say("hello")
    await Deliveries(shared).settle()
    assert "What you have in mind" not in prompts(shared)[0]


async def test_the_briefing_is_the_last_section(shared):
    await shared.say("hello")
    deliveries = Deliveries(shared)
    await deliveries.settle()
    await brief(shared, "identity: one")
    await shared.say("again")
    await deliveries.settle()
    before, after = prompts(shared)
    assert after.startswith(before)
    assert after.endswith("- identity: one")


async def test_the_prompt_is_the_same_bytes_between_two_briefings(shared):
    deliveries = Deliveries(shared)
    await brief(shared, "identity: one")
    for number in range(6):
        await shared.say("hello", message_id=f"m{number}", author=(ANA, BEN)[number % 2])
        await deliveries.settle()
        shared.clock.advance(3_600)
        deliveries.replica = Replica(shared)
    assert len({*prompts(shared)}) == 1
    await brief(shared, "identity: two")
    await shared.say("hello", message_id="last")
    await deliveries.settle()
    assert len({*prompts(shared)}) == 2


async def test_branches_and_workers_are_not_shown_it(shared):
    def brain(request):
        if request.kind == "branch":
            return says("Known.")
        if request.kind == "worker":
            return does(calls("set_status", kind="outcome", outcome="succeeded", status="Did."))
        own = sum(message.role == "assistant" for message in request.messages)
        if own == 0:
            return does(calls("branch", task="think"), calls("spawn_worker", task="work"))
        return says("Yes.")

    shared.model.brain = brain
    await brief(shared, "identity: one")
    await shared.say("hello")
    await Deliveries(shared).settle()
    others = [r for r in shared.model.requests if r.kind != "turn"]
    assert {request.kind for request in others} == {"branch", "worker"}
    assert not any("identity: one" in request.messages[0].content for request in others)


async def test_a_turn_that_is_taken_over_shows_the_bytes_of_its_first_call(shared):
    shared.model.queued = [
        does(calls("react", emoji="👍", message_id="hello")),
        says("Yes."),
    ]
    await brief(shared, "identity: one")

    async def kill_then_brief(replica, point):
        if point.what == "tool_returned" and point.when == "after":
            shared.hook = nothing
            await brief(shared, "identity: two")
            replica.kill()

    shared.hook = kill_then_brief
    await shared.say("hello")
    await Deliveries(shared).settle()
    first, second = prompts(shared)
    assert first == second
    assert first.endswith("- identity: one")
    called = [r.event for r in shared.log.events if isinstance(r.event, ModelCalled)]
    assert len({event.prompt for event in called}) == 1


async def test_the_turn_after_it_shows_the_new_one(shared):
    shared.model.queued = [ModelUnavailable("away"), says("Yes."), says("Yes.")]
    await brief(shared, "identity: one")
    await shared.say("hello")
    await Deliveries(shared).settle()
    await brief(shared, "identity: two")
    await shared.say("again")
    await Deliveries(shared).settle()
    assert [prompt.rsplit(" ", 1)[1] for prompt in prompts(shared)] == ["one", "one", "two"]


async def test_a_prompt_that_is_lost_is_made_anew_and_the_turn_goes_on(shared):
    shared.model.queued = [ModelUnavailable("away"), says("Yes.")]
    await brief(shared, "identity: one")

    async def lose(replica, point):
        if point.what == "model_failed" and point.when == "after":
            shared.bodies.bodies.clear()
            await brief(shared, "identity: two")

    shared.hook = lose
    await shared.say("hello")
    await Deliveries(shared).settle()
    assert [prompt.rsplit(" ", 1)[1] for prompt in prompts(shared)] == ["one", "two"]


async def test_who_is_present_is_told_in_the_note_and_not_in_the_prompt(shared):
    known = (PersonKnown(person=ANA.id, line=Line(text='fact: "leads"')),)
    await brief(shared, "identity: one", people=known)
    deliveries = Deliveries(shared)
    for number, author in enumerate((ANA, BEN)):
        await shared.say("hello", message_id=f"m{number}", author=author, group=True)
        await deliveries.settle()
    note = shared.model.requests[-1].messages[-1].content
    assert '- "Ben" (portal:ben)\n- "Ana" (portal:ana): fact: "leads"' in note
    assert len({*prompts(shared)}) == 1
    assert "leads" not in prompts(shared)[0]


async def test_what_a_conversation_talks_about_is_shown_in_others_alone(shared):
    place = f"{CONVERSATION.adapter}/{CONVERSATION.conversation}"
    line = Line(text="what we say here", conversation=place)
    event = BriefingWritten(layers=(Layer(name="channels", lines=(line,)),))
    subject = str(subject_of("acme", "atlas", "briefing"))
    await shared.log.append(subject, shared.outside.seal(event))
    other = CONVERSATION._replace(conversation="other")
    await shared.say("hello")
    await shared.say("hello", message_id="m2", subject=other)
    await Deliveries(shared).settle()
    here, there = prompts(shared)
    assert "what we say here" not in here
    assert there.endswith("- what we say here")
