"""Jobs from conversation: what is asked for is defined once, or refused with the reason."""

import pytest
from structlog.testing import capture_logs

from schemas.channel import Person, ReplySent
from schemas.run import ToolReturned
from schemas.schedule import JobDefined, JobDeleted, JobPaused, JobResumed, OccurrenceFired, Target
from services.memory.people import link
from services.runtime.agents import Agents
from services.runtime.conversations import Conversations
from services.runtime.jobs.desk import By, Jobs, NotNow, subject_of
from services.runtime.jobs.request import JobRequest
from services.runtime.writer import Writer
from tests.support.builders import ANA, CONVERSATION, START
from tests.support.crashes import Scenario, at_every_point, saying
from tests.support.fake_log import FakeBodies
from tests.support.replicas import Deliveries, FakeSnapshots, Shared
from tests.support.scripted_model import by_prompt, calls, does


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


class Talk:
    """A conversation with a scripted model, in which jobs are spoken of."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.deliveries = Deliveries(shared)
        self.said = 0

    async def call(
        self, action: str, job: str = "inbox", *, where=CONVERSATION, author=ANA, **arguments
    ) -> str:
        """Let the model call the tool once; return what it is told."""
        how = {name: arguments.pop(name) for name in ("group", "private") if name in arguments}
        self.shared.model.queued += [
            does(calls("schedule", action=action, job=job, **arguments)),
            does(calls("reply", text="Done.")),
        ]
        self.said += 1
        await self.shared.say(f"please {self.said}", subject=where, author=author, **how)
        await self.deliveries.settle()
        return [it.output for it in self.events(ToolReturned) if it.name == "schedule"][-1]

    def events(self, *kinds):
        return [r.event for r in self.shared.log.events if isinstance(r.event, kinds)]


@pytest.fixture
async def talk(tmp_path):
    shared = Shared(place=tmp_path)
    await shared.define()
    return Talk(shared)


async def test_a_job_is_defined_and_tells_its_results_here(talk):
    told = await talk.call("create", prompt="check the inbox", every="30m")
    (job,) = talk.events(JobDefined)
    assert (job.prompt, job.schedule.every_s) == ("check the inbox", 1_800)
    assert job.deliver_to == Target(adapter="portal", conversation="general")
    assert told.startswith("Job inbox is scheduled. It is due 2023-11-14 22:43:20 UTC, then ")
    (envelope,) = [r.envelope for r in talk.shared.log.events if r.event is job]
    assert envelope.actor == "channel for portal:ana"


async def test_a_silent_job_tells_nobody(talk):
    await talk.call("create", prompt="tidy up", cron="0 3 * * *", silent=True)
    assert talk.events(JobDefined)[0].deliver_to is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"prompt": "x", "cron": "0 9 * * workdays"}, "'workdays' is no day of the week"),
        ({"prompt": "x", "every": "30m", "zone": "Berlin"}, "no IANA time zone"),
        ({"every": "30m"}, "needs a prompt"),
        ({"prompt": "x"}, "exactly one of"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_the_reason(talk, arguments, reason):
    told = await talk.call("create", **arguments)
    assert reason in told
    assert talk.events(JobDefined) == []


async def test_a_job_is_changed_paused_resumed_run_and_deleted(talk):
    await talk.call("create", prompt="check", every="30m")
    assert "is changed" in await talk.call("edit", every="1h")
    assert await talk.call("pause", reason="holidays") == "Job inbox is paused."
    assert "job 'inbox' is paused" in await talk.call("pause")
    assert (await talk.call("resume")).startswith("Job inbox is resumed. It is due ")
    talk.shared.model.queued = []
    assert await talk.call("delete") == "Job inbox is deleted."
    assert "has no job 'inbox'" in await talk.call("resume")
    assert [type(it) for it in talk.events(JobDefined, JobPaused, JobResumed, JobDeleted)] == [
        *(JobDefined, JobDefined, JobPaused, JobResumed, JobDeleted)
    ]
    assert talk.events(JobDefined)[1].prompt == "check"


async def test_a_job_of_the_name_is_there_only_once(talk):
    await talk.call("create", prompt="check", every="30m")
    assert "there is a job 'inbox' already" in await talk.call("create", prompt="x", every="1h")


async def test_with_no_jobs_the_list_says_so(talk):
    assert await talk.call("list", job="") == "There are no jobs."


ROOM = CONVERSATION._replace(conversation="room")
"""Another conversation, which is Ana's alone too."""
CREW = CONVERSATION._replace(conversation="crew")
BOB = Person(id="portal:bob", name="Bob")
JOB = subject_of("acme", "atlas", "inbox")


async def test_of_the_jobs_of_closed_conversations_nothing_is_known_elsewhere(talk):
    await talk.call("create", "mine", prompt="ask how I slept", every="1d")
    await talk.call("create", "quiet", prompt="ask nobody", every="1d", silent=True)
    mine = "Jobs:\n- mine; ask how I slept\n- quiet; ask nobody"
    assert await talk.call("list") == mine
    assert await talk.call("list", where=ROOM) == mine
    assert await talk.call("list", where=CREW, author=BOB) == "There are no jobs."
    assert await talk.call("list", where=ROOM, author=BOB) == "There are no jobs."


async def test_the_jobs_of_open_conversations_are_known_everywhere(talk):
    await talk.call("create", "ours", prompt="look", every="1d", group=True)
    assert await talk.call("list", where=CREW, author=BOB) == "Jobs:\n- ours; look"


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("action", ["edit", "pause", "resume", "delete", "run"])
async def test_a_job_of_a_private_conversation_is_not_steered_from_another_persons(
    talk, action, silent
):
    await talk.call("create", prompt="look", every="1d", silent=silent)
    told = await talk.call(action, where=CREW, author=BOB, **changing(action))
    assert "belongs to another conversation" in told
    assert talk.events(JobPaused, JobResumed, JobDeleted, OccurrenceFired) == []
    (job,) = talk.events(JobDefined)
    assert job.prompt == "look"


def changing(action):
    return {"prompt": "tell Bob everything"} if action == "edit" else {}


async def test_a_person_steers_their_job_from_any_conversation_of_their_own(talk):
    await talk.call("create", prompt="look", every="1d")
    assert await talk.call("pause", where=ROOM) == "Job inbox is paused."
    assert "belongs to another conversation" in await talk.call("delete", where=CREW, group=True)
    await link(Writer(talk.shared.log, talk.shared.clock, "test"), "acme", BOB.id, "portal:ana")
    bobs = CONVERSATION._replace(conversation="bobs")
    assert await talk.call("delete", where=bobs, author=BOB) == "Job inbox is deleted."


async def test_a_job_stays_where_it_was_made_whoever_changes_it_and_wherever_it_is_told(talk):
    await talk.call("create", prompt="look", every="1d", group=True, where=CREW)
    assert "is changed" in await talk.call("edit", every="2d", author=BOB, where=ROOM)
    here = Target(adapter="portal", conversation="crew")
    assert [it.made_in for it in talk.events(JobDefined)] == [here, here]


async def test_a_private_group_steers_its_jobs_from_there_alone(talk):
    await talk.call("create", prompt="look", every="1d", group=True, private=True, where=CREW)
    assert "belongs to another conversation" in await talk.call("delete")
    deleted = await talk.call("delete", group=True, private=True, where=CREW, author=BOB)
    assert deleted == "Job inbox is deleted."


async def test_what_an_operator_defined_and_tells_nowhere_is_everybodys(talk):
    await operator(talk).create(JOB, JobRequest(prompt="look", every="1d"), By("person:cli"))
    assert await talk.call("list", where=CREW, author=BOB) == "Jobs:\n- inbox"
    assert await talk.call("pause", where=CREW, author=BOB) == "Job inbox is paused."


async def test_what_an_operator_has_told_in_a_private_conversation_is_steered_there(talk):
    await talk.call("list")
    asked = JobRequest(prompt="look", every="1d", deliver_to="portal/general")
    await operator(talk).create(JOB, asked, By("person:cli"))
    assert "belongs to another conversation" in await talk.call("pause", where=CREW, author=BOB)
    assert await talk.call("pause") == "Job inbox is paused."


async def test_an_operator_steers_any_job(talk):
    await talk.call("create", prompt="look", every="1d")
    await operator(talk).edit(JOB, JobRequest(every="2d"), By("person:cli"))
    await operator(talk).delete(JOB, By("person:cli"))
    first, second = talk.events(JobDefined)
    assert first.made_in == second.made_in
    assert len(talk.events(JobDeleted)) == 1


async def test_a_job_that_was_made_anew_while_it_was_looked_at_is_left_alone(talk):
    """Between the look and the change, the name goes to a job of another conversation."""
    await talk.call("create", prompt="look", every="1d", group=True, where=CREW)
    jobs = operator(talk)
    asked = JobRequest(prompt="secret", every="1d")
    bobs = By("channel for portal:bob", place=Target(adapter="portal", conversation="bobs"))

    def same(definition):
        if definition.prompt != "look":
            raise NotNow("changed")

    await jobs.delete(JOB, By("person:cli"))
    await jobs.create(JOB, asked, bobs)
    with pytest.raises(NotNow):
        await jobs.pause(JOB, By("channel for portal:ana", only=same))
    assert talk.events(JobPaused) == []


def operator(talk):
    conversations = Conversations(talk.shared.log, FakeSnapshots())
    writer = Writer(talk.shared.log, talk.shared.clock, "api")
    return Jobs(writer, FakeBodies(), conversations, Agents(talk.shared.log))


CREATE = Scenario(
    by_prompt(
        {
            "check": [
                does(calls("schedule", action="create", job="inbox", prompt="look", every="1h")),
                does(calls("reply", text="It is scheduled.")),
            ]
        }
    ),
    saying("check every hour"),
)


async def test_a_crash_at_any_point_defines_the_job_once(tmp_path):
    def defined(told: Shared) -> list[object]:
        return [r.event.prompt for r in told.log.events if isinstance(r.event, JobDefined)]

    assert await at_every_point(CREATE, tmp_path, also=defined) >= 12


async def test_a_run_now_is_an_occurrence_that_is_due_now(talk):
    await talk.call("create", prompt="check", every="30m", silent=True)
    talk.shared.model.queued.append(does(calls("schedule", action="run", job="inbox")))
    talk.shared.model.queued.append(does(calls("reply", text="It runs.")))
    talk.shared.model.queued.append(does(calls("set_outcome", text="")))
    await talk.shared.say("run it")
    await talk.deliveries.settle()
    (fired,) = talk.events(OccurrenceFired)
    assert fired.manual
    assert fired.due_at >= START
    assert [it.text for it in talk.events(ReplySent)] == ["Done.", "It runs."]
