"""A conversation whose budget is used up: one plain sentence, one end of every run, no storm."""

import pytest

from schemas.channel import (
    BranchConcluded,
    MessageReceived,
    ReplySent,
    TurnCompleted,
    WorkerConcluded,
)
from schemas.run import CallRefused, ModelCalled, ModelReturned, RunEnded
from schemas.schedule import OccurrenceEnded, OccurrenceFired
from schemas.spend import SpendReserved, SpendSettled
from services.cli.replaying.recording import Recording
from services.cli.replaying.replay import Replay
from services.cli.replaying.runs import runs_of
from services.runtime.config import Config
from services.runtime.why_message import explain
from tests.support.budgets import budget
from tests.support.builders import BEN
from tests.support.crashes import Scenario, at_every_point, saying, tell
from tests.support.jobs import JOB, minutely
from tests.support.replicas import Deliveries, Shared
from tests.support.scripted_model import by_prompt, calls, does, says

BRAIN = by_prompt(
    {
        "hello": [does(calls("reply", text="hi"))],
        "react": [does(calls("react", emoji="👍")), says("There.")],
        "what day": [does(calls("branch", task="find the day"), calls("reply", text="I look."))],
        "[task] find the day": [does(calls("checkpoint_list")), says("Thursday.")],
        "[result of branch": [does(calls("reply", text="Thursday."))],
        "build": [does(calls("spawn_worker", task="make it"), calls("reply", text="On it."))],
        "[task] make it": [
            does(calls("set_status", status="half way")),
            does(calls("set_status", kind="outcome", outcome="succeeded", status="Made.")),
        ],
        "[result of worker": [does(calls("reply", text="Made."))],
    }
)

BLOCKED = Scenario(BRAIN, saying("what day"), budgets=(budget(calls=2),))


def events(shared, kind):
    return [it.event for it in shared.log.events if isinstance(it.event, kind)]


def texts(shared):
    return [reply.text for reply in events(shared, ReplySent)]


async def told(tmp_path, *said, budgets, **fields) -> Shared:
    shared = Shared(BRAIN, place=tmp_path, budgets=budgets)
    await shared.define()
    deliveries = Deliveries(shared)
    for number, text in enumerate(said):
        await shared.say(text, message_id=f"m{number}", **fields)
        await deliveries.settle()
    return shared


def balanced(shared):
    """Tell what was reserved against what was answered: once each, and nothing is left open."""
    settled = [event for event in events(shared, SpendSettled) if event.calls]
    return (
        len(events(shared, SpendReserved)) == len(events(shared, SpendSettled)),
        len(settled) == len(events(shared, ModelReturned)),
    )


async def test_every_call_is_reserved_before_and_settled_with_its_answer(tmp_path):
    shared = await told(tmp_path, "what day", budgets=(budget(usd=100.0),))
    kinds = SpendReserved | ModelCalled | SpendSettled | ModelReturned
    types = [it.envelope.type for it in shared.log.events if isinstance(it.event, kinds)]
    assert types == ["spend_reserved", "model_called", "spend_settled", "model_returned"] * 4
    assert balanced(shared) == (True, True)


async def test_the_person_is_told_once_which_budget_and_the_turn_is_handled(tmp_path):
    shared = await told(tmp_path, "hello", "hello again", budgets=(budget(calls=1),))
    first, refusal = texts(shared)
    assert first == "hi"
    assert "the budget team is used up until 2023-11-15 00:00 UTC" in refusal
    assert len(shared.model.requests) == 1
    ended = events(shared, TurnCompleted)[-1]
    assert ended.reason.startswith("budget team is used up: 1 of 1 model calls a day")


async def test_each_message_of_a_person_is_answered(tmp_path):
    shared = await told(tmp_path, "hello", "hello", budgets=(budget(calls=0),))
    assert len(texts(shared)) == 2


async def test_a_group_is_told_once(tmp_path):
    said = ["hello", "hello there", "hello all"]
    shared = await told(tmp_path, *said, budgets=(budget(calls=0),), group=True)
    assert len(texts(shared)) == 1
    assert len(events(shared, TurnCompleted)) == 3


async def test_what_a_turn_had_done_stays(tmp_path):
    shared = await told(tmp_path, "react", budgets=(budget(calls=1),))
    done = [it.envelope.type for it in shared.log.events if it.envelope.actor == "channel"]
    assert "reaction_added" in done
    assert len(texts(shared)) == 1


async def test_a_branch_ends_blocked_with_the_reason(tmp_path):
    shared = await told(tmp_path, "what day", budgets=(budget(calls=2),))
    (concluded,) = events(shared, BranchConcluded)
    assert concluded.outcome == "blocked"
    assert "budget team is used up" in concluded.conclusion
    assert len(texts(shared)) == 2, "what was said before, and that there is no more"


async def test_a_worker_ends_blocked_with_the_reason(tmp_path):
    shared = await told(tmp_path, "build", budgets=(budget(calls=2),))
    (concluded,) = events(shared, WorkerConcluded)
    assert concluded.outcome == "blocked"
    assert "half way" in concluded.result
    assert "budget team is used up" in concluded.result
    assert len(events(shared, RunEnded)) == 1


async def test_why_explains_the_message_that_was_refused(tmp_path):
    shared = await told(tmp_path, "hello", budgets=(budget(calls=0),))
    found = explain(shared.log.events, "m0", now=shared.clock.now())
    assert found.standing == "refused"
    assert "budget team is used up: 0 of 0 model calls a day spent" in found.why


async def test_a_replay_of_reserved_and_refused_calls_does_not_part(tmp_path):
    shared = await told(tmp_path, "what day", "build", budgets=(budget(calls=5),))
    assert events(shared, CallRefused)
    recording = Recording(shared.log.events, shared.bodies)
    found = await Replay(recording, Config()).all(runs_of(recording))
    assert len(found) >= 5
    assert [it for it in found if it.divergence or it.problem] == []


async def test_a_budget_of_today_does_not_part_a_replay_of_then(tmp_path):
    shared = await told(tmp_path, "hello", budgets=())
    recording = Recording(shared.log.events, shared.bodies)
    (found,) = await Replay(recording, Config()).all(runs_of(recording))
    assert (found.divergence, found.problem) == (None, "")


async def test_without_a_budget_nothing_is_reserved(tmp_path):
    shared = await told(tmp_path, "what day", budgets=())
    assert not events(shared, SpendReserved)


async def test_a_run_of_a_job_ends_blocked_and_says_which_budget(tmp_path):
    shared = Shared(BRAIN, place=tmp_path, budgets=(budget(calls=0, agent="atlas", job="digest"),))
    await shared.define()
    writer = shared.outside
    await shared.log.append(str(JOB), writer.seal(minutely()))
    await shared.log.append(str(JOB), writer.seal(OccurrenceFired(due_at=shared.clock.now())))
    await Deliveries(shared).settle()
    (ended,) = events(shared, OccurrenceEnded)
    assert (ended.outcome, ended.budget) == ("blocked", "team")
    assert ended.reason.startswith("budget team is used up")
    assert not events(shared, ReplySent)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 100])
async def test_a_crash_at_any_point_changes_nothing_and_loses_no_settlement(limit, tmp_path):
    scenario = Scenario(BRAIN, saying("what day"), budgets=(budget(calls=limit),))
    assert await at_every_point(scenario, tmp_path, also=balanced) >= 8
    undisturbed = await tell(scenario, tmp_path / "again")
    assert len(undisturbed.model.requests) == min(limit, 4)


async def test_somebody_else_may_have_spoken(tmp_path):
    """A refusal that is not the last word is said again in a group, too."""
    shared = await told(tmp_path, "hello", budgets=(budget(calls=1),), group=True)
    deliveries = Deliveries(shared)
    await shared.say("hello", message_id="m8", author=BEN, group=True)
    await deliveries.settle()
    assert len(texts(shared)) == 2
    assert len(events(shared, MessageReceived)) == 2


async def test_a_replay_knows_what_a_refused_turn_had_waited_for(tmp_path):
    shared = Shared(BRAIN, place=tmp_path, budgets=(budget(calls=0),))
    await shared.define()

    async def another():
        shared.clock.during_sleep = None
        await shared.say("and me", message_id="m2", author=BEN, group=True)

    await shared.say("hello", message_id="m1", group=True)
    shared.clock.during_sleep = another
    await Deliveries(shared).settle()
    (ended,) = events(shared, TurnCompleted)
    assert len(ended.handled) == 2
    recording = Recording(shared.log.events, shared.bodies)
    (found,) = await Replay(recording, Config()).all(runs_of(recording))
    assert (found.divergence, found.problem) == (None, "")
