"""Jobs from conversation: what is asked for is defined once, or refused with the reason."""

import pytest
from structlog.testing import capture_logs

from schemas.channel import ReplySent
from schemas.run import ToolReturned
from schemas.schedule import JobDefined, JobDeleted, JobPaused, JobResumed, OccurrenceFired, Target
from tests.support.builders import CONVERSATION, START
from tests.support.crashes import Scenario, at_every_point, saying
from tests.support.replicas import Deliveries, Shared
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
        self, action: str, job: str = "inbox", *, where=CONVERSATION, group=False, **arguments
    ) -> str:
        """Let the model call the tool once; return what it is told."""
        self.shared.model.queued += [
            does(calls("schedule", action=action, job=job, **arguments)),
            does(calls("reply", text="Done.")),
        ]
        self.said += 1
        await self.shared.say(f"please {self.said}", subject=where, group=group)
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


async def test_of_the_jobs_of_closed_conversations_nothing_is_known_elsewhere(talk):
    await talk.call("create", "mine", prompt="ask how I slept", every="1d")
    await talk.call("create", "quiet", prompt="ask nobody", every="1d", silent=True)
    assert await talk.call("list") == "Jobs:\n- mine; ask how I slept\n- quiet"
    room = CONVERSATION._replace(conversation="room")
    assert await talk.call("list", where=room) == "Jobs:\n- quiet"


async def test_the_jobs_of_open_conversations_are_known_everywhere(talk):
    await talk.call("create", "ours", prompt="look", every="1d", group=True)
    room = CONVERSATION._replace(conversation="room")
    assert await talk.call("list", where=room) == "Jobs:\n- ours; look"


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
