"""Runs of jobs: afresh each time, told once at the end, and never longer than they may."""

import pytest
from structlog.testing import capture_logs

from schemas.base import EventId
from schemas.channel import (
    BranchRequested,
    CancelRequested,
    ReplySent,
    ResultDelivered,
    TurnCompleted,
    TurnStarted,
)
from schemas.memory import MemorySaved
from schemas.schedule import (
    DeliveryRefused,
    JobDefined,
    OccurrenceDelivered,
    OccurrenceEnded,
    OccurrenceFired,
    Schedule,
    Target,
)
from services.errors import ModelRefused
from tests.support.builders import CONVERSATION, START, worker_concluded
from tests.support.crashes import Scenario, at_every_point
from tests.support.jobs import JOB
from tests.support.keeper import MARK, keeping
from tests.support.replicas import Deliveries, Shared, nothing
from tests.support.scripted_model import by_prompt, calls, does, says, split

HERE = Target(adapter="portal", conversation="general")


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


class Work:
    """A job with a scripted model."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.deliveries = Deliveries(shared)

    async def define(self, **fields) -> None:
        definition = {
            "schedule": Schedule(every_s=3_600, anchor_at=START),
            "prompt": "look into the inbox",
            "effective_at": START,
            "deliver_to": HERE,
        }
        await self.append(JobDefined(**(definition | fields)))

    async def append(self, event, subject=JOB) -> EventId:
        envelope = self.shared.outside.seal(event)
        await self.shared.log.append(str(subject), envelope)
        return envelope.id

    async def fire(self, *answers, settle=True) -> EventId:
        self.shared.model.queued += answers
        due = self.shared.clock.now()
        id_ = await self.append(OccurrenceFired(due_at=due))
        if settle:
            await self.deliveries.settle()
        return id_

    def events(self, *kinds):
        return [r.event for r in self.shared.log.events if isinstance(r.event, kinds)]

    @property
    def ends(self):
        return [(it.outcome, it.text) for it in self.events(OccurrenceEnded)]

    @property
    def told(self):
        return [it.text for it in self.events(ResultDelivered)]


@pytest.fixture
async def work(tmp_path):
    work = Work(Shared(place=tmp_path))
    await work.shared.define()
    await work.define()
    return work


def outcome(text="", **fields):
    return does(calls("set_outcome", text=text, **fields))


async def test_what_a_run_has_to_say_is_told_once_where_it_should_be(work):
    occurrence = await work.fire(outcome("Three new messages."))
    assert work.ends == [("succeeded", "Three new messages.")]
    assert work.told == ["Three new messages."]
    (delivered,) = work.events(OccurrenceDelivered)
    assert (delivered.occurrence, delivered.to) == (occurrence, HERE)
    there = [r for r in work.shared.log.events if r.envelope.id == delivered.event]
    assert [r.subject for r in there] == [str(CONVERSATION)]
    assert work.events(ReplySent) == []


async def test_nothing_to_say_is_recorded_and_nobody_is_disturbed(work):
    await work.fire(outcome())
    assert (work.ends, work.told) == ([("succeeded", "")], [])


async def test_plain_words_are_what_is_told(work):
    await work.fire(says("All quiet."))
    assert (work.ends, work.told) == ([("succeeded", "All quiet.")], ["All quiet."])


async def test_a_job_without_a_target_tells_nobody(work):
    await work.define(deliver_to=None)
    await work.fire(says("All quiet."))
    assert (work.ends, work.told) == ([("succeeded", "All quiet.")], [])


async def test_a_run_sees_its_prompt_and_nothing_of_earlier_ones(work):
    await work.fire(says("first"))
    await work.fire(says("second"))
    shown = [m.content for m in work.shared.model.requests[-1].messages[1:]]
    assert shown[0] == "[job digest] look into the inbox"
    assert len(shown) == 2
    assert shown[1].startswith("[status]")


async def test_a_run_cannot_talk_and_is_told_that_nobody_is_there(work):
    await work.fire(says("x"))
    (request,) = work.shared.model.requests
    assert [t.name for t in request.tools] == [
        *("branch", "spawn_worker", "route", "cancel", "set_outcome")
    ]
    assert "nobody is here to talk to" in request.messages[0].content


async def test_its_own_model_answers(work):
    await work.define(model="scripted/other")
    await work.fire(says("x"))
    assert work.shared.model.requests[0].model == "scripted/other"


async def test_a_run_goes_on_with_what_its_worker_brings(work):
    await work.fire(
        says("I look.", calls("spawn_worker", task="count the mails")),
        says("I wait."),
        does(calls("set_status", status="3 mails", kind="outcome", outcome="succeeded")),
        outcome("There are 3."),
    )
    assert work.told == ["There are 3."]
    last = [m.content for m in work.shared.model.requests[-1].messages]
    assert any("3 mails" in content for content in last)
    assert len(work.events(TurnStarted)) == 2


async def test_what_is_at_work_when_a_run_ends_is_stopped(work):
    await work.fire(
        does(calls("spawn_worker", task="count the mails")),
        outcome("No need."),
    )
    (worker,) = [it.run_id for it in work.events(CancelRequested)]
    assert work.told == ["No need."]
    assert worker_concluded(worker).run_id == worker
    assert len(work.events(TurnStarted)) == 1, "the result of a stopped worker calls for nothing"


async def test_of_queued_runs_one_goes_after_the_other(work):
    await work.define(overlap="queue")
    await work.fire(settle=False)
    await work.fire(says("first"), says("second"))
    assert work.told == ["first", "second"]
    turns = [it.occurrence for it in work.events(TurnStarted)]
    assert len(set(turns)) == 2


async def test_a_queued_run_begins_when_the_scheduler_ends_the_one_before_it(work):
    await work.define(overlap="queue")
    waits = does(calls("spawn_worker", task="dig", interactive=True))
    dug = does(calls("set_status", status="dug", kind="outcome", outcome="succeeded"))
    first = await work.fire(waits, says("I wait."), dug, says("I wait for more."))
    await work.fire(says("second"))
    assert (work.ends, len(work.shared.model.queued)) == ([], 1)
    await work.append(OccurrenceEnded(occurrence=first, outcome="timed_out", reason="too long"))
    await work.deliveries.settle()
    assert work.ends == [("timed_out", ""), ("succeeded", "second")]


async def test_runs_that_are_allowed_together_do_not_see_each_other(work):
    await work.define(overlap="allow")
    await work.fire(settle=False)
    await work.fire(says("one"), says("other"))
    for request in work.shared.model.requests:
        prompts = [m for m in request.messages if m.content.startswith("[job digest]")]
        assert len(prompts) == 1
    assert sorted(work.told) == ["one", "other"]


async def test_a_run_that_goes_in_circles_is_given_up(work):
    def brain(request):
        if request.kind == "worker":
            return does(calls("set_status", status="dug", kind="outcome", outcome="succeeded"))
        if request.messages[-1].role == "tool":
            return says("I wait.")
        return does(calls("spawn_worker", task="dig"))

    work.shared.model.brain = brain
    await work.fire()
    assert work.ends == [("failed", "")]
    assert work.told == ["The job digest failed: it came to no outcome in 20 turns."]
    assert len(work.events(TurnStarted)) == 21


async def test_a_run_that_fails_says_so(work):
    await work.fire(ModelRefused("the key is wrong"))
    assert work.ends == [("failed", "")]
    assert work.told == ["The job digest failed: the key is wrong."]


async def test_a_run_whose_time_is_up_tells_what_it_has_as_partial(work):
    await work.define(timeout_s=60)

    async def hour(replica, point):
        if (point.when, point.what) == ("after", "model_returned"):
            work.shared.clock.advance(61)

    work.shared.hook = hour
    await work.fire(says("So far: 2 mails.", calls("branch", task="think")))
    assert work.ends[0] == ("partial", "So far: 2 mails.")
    assert work.told == [
        "So far: 2 mails.\n\n(This is partial: the time limit of 60 s was reached.)"
    ]


async def test_a_run_whose_time_is_up_with_nothing_says_that_it_came_to_nothing(work):
    await work.define(timeout_s=60)
    worker = says("", calls("spawn_worker", task="dig"))
    await work.fire(worker, says(""), settle=False)

    async def hour(replica, point):
        if (point.when, point.what) == ("after", "model_called"):
            work.shared.clock.advance(61)

    work.shared.hook = hour
    await work.deliveries.settle()
    assert work.ends[0][0] == "timed_out"
    assert work.told[0].startswith("The job digest came to nothing: the time limit of 60 s")


async def test_a_result_for_an_agent_that_is_gone_is_refused_with_the_reason(work):
    there = JOB._replace(agent="gone")
    ended = OccurrenceEnded(
        occurrence=EventId("o1"), outcome="succeeded", text="x", deliver_to=HERE
    )
    await work.append(ended, subject=there)
    await work.deliveries.settle()
    (refused,) = work.events(DeliveryRefused)
    assert "no agent 'gone'" in refused.reason
    assert work.told == []


async def test_the_target_shows_it_as_a_reply_without_disturbing_its_own_turn(work):
    await work.fire(says("Three new messages."))
    work.shared.model.queued.append(says("Yes, three."))
    await work.shared.say("really?")
    await work.deliveries.settle()
    history = [(m.role, m.content) for m in work.shared.model.requests[-1].messages]
    assert ("assistant", "Three new messages.") in history
    assert [it.text for it in work.events(ReplySent)] == ["Yes, three."]
    assert [it.outcome for it in work.events(TurnCompleted)] == ["silent", "replied"]


# -- memory ------------------------------------------------------------------------------------


SAVES = by_prompt(
    {
        "[job digest]": [says("", calls("branch", task="note it")), says("I wait.")],
        "[task] note it": [does(calls("memory_save", content="The mail runs out.")), says("ok")],
        "[result of branch": [outcome("Noted.")],
        "]": [says("Fine.")],
    }
)


@pytest.mark.parametrize(
    ("spoken", "target", "scope", "place"),
    [
        ({"group": True}, HERE, "agent", "portal/general"),
        ({"group": True, "private": True}, HERE, "channel", "portal/general"),
        ({}, HERE, "channel", "portal/general"),
        ({"group": True}, None, "channel", "cron/digest"),
    ],
    ids=["open group", "private group", "one person", "told nowhere"],
)
async def test_what_a_run_saves_belongs_to_where_its_result_is_told(
    work, spoken, target, scope, place
):
    work.shared.model.brain = SAVES
    await work.shared.say("hello", **spoken)
    await work.define(deliver_to=target)
    await work.fire()
    (saved,) = work.events(MemorySaved)
    assert (saved.scope, saved.conversation, saved.person) == (scope, place, None)


async def test_what_a_run_saves_is_nobodys_even_if_somebody_spoke_in_its_conversation(work):
    work.shared.model.brain = SAVES
    await work.shared.say("how is it going?", subject=JOB)
    await work.deliveries.settle()
    await work.fire()
    (saved,) = work.events(MemorySaved)
    assert (saved.scope, saved.conversation, saved.person) == ("channel", "portal/general", None)


async def test_an_edit_does_not_move_what_a_run_says_that_has_begun(work):
    """What it recalled was meant for whoever hears its result."""

    async def edit(replica, point):
        if (point.when, point.what) == ("after", "model_called"):
            work.shared.hook = nothing
            await work.define(deliver_to=Target(adapter="portal", conversation="town-square"))

    work.shared.hook = edit
    await work.fire(outcome("Among us."))
    (delivered,) = work.events(OccurrenceDelivered)
    assert delivered.to == HERE
    await work.fire(outcome("For all."))
    assert work.events(OccurrenceDelivered)[-1].to.conversation == "town-square"


async def test_runs_of_jobs_are_no_occasion_to_look_through_anything(work):
    brain = by_prompt(
        {
            "[job digest]": [says("", calls("spawn_worker", task="dig")), says("I wait.")],
            "dig": [does(calls("set_status", status="dug", kind="outcome", outcome="succeeded"))],
            "[result of worker": [outcome("Dug.")],
        }
    )
    work.shared.model.brain = brain
    for _ in range(30):
        await work.fire()
    work.shared.clock.advance(3_600)
    assert await work.deliveries.replica.look(JOB) is None
    state = await work.deliveries.replica.conversations.newest(JOB)
    assert (state.unsaved.messages, state.unsaved.lesson) == (0, False)
    assert [it for it in work.events(BranchRequested) if it.purpose == "persistence"] == []


async def test_what_a_person_says_in_a_jobs_conversation_is_looked_through_as_that_persons(work):
    work.shared.model.brain = keeping(
        {"content": "Ana prefers tea.", "kind": "preference", "message": 1}
    )
    await work.shared.say("I prefer tea", subject=JOB)
    await work.deliveries.settle()
    await work.fire()
    work.shared.clock.advance(3_600)
    assert await work.deliveries.replica.look(JOB) == "idle"
    await work.deliveries.settle()
    (saved,) = work.events(MemorySaved)
    assert (saved.scope, saved.person) == ("person", "portal:ana")
    looks = [r for r in work.shared.model.requests if split(r)[0].content.startswith(MARK)]
    assert looks
    assert not any("inbox" in m.content for r in looks for m in r.messages)


def firing(*prompts):
    """Return the plot of a job that is due again and again."""

    async def plot(deliveries: Deliveries) -> None:
        work = Work(deliveries.shared)
        work.deliveries = deliveries
        for prompt in prompts:
            await work.define(prompt=prompt)
            await work.fire()

    return plot


SAYS = Scenario(by_prompt({"say it": [outcome("It is said.")]}), firing("say it"))
SILENT = Scenario(by_prompt({"look": [outcome()]}), firing("look"))
DELEGATES = Scenario(
    by_prompt(
        {
            "[job digest] dig": [says("", calls("branch", task="think hard")), says("I wait.")],
            "[task] think hard": [says("It is 42.")],
            "[result of branch": [outcome("42, as it turns out.")],
        }
    ),
    firing("dig"),
)
TWICE = Scenario(by_prompt({"one": [says("first")], "two": [says("second")]}), firing("one", "two"))


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(SAYS, id="something to say"),
        pytest.param(SILENT, id="nothing to say"),
        pytest.param(DELEGATES, id="a branch"),
        pytest.param(TWICE, id="one run after another"),
    ],
)
async def test_a_crash_at_any_point_of_a_run_changes_nothing(scenario, tmp_path):
    assert await at_every_point(scenario, tmp_path) >= 12
