"""What may happen to a task in each state, by whom, and what then is so."""

import pytest

from schemas.base import EventId, GoalId, RunId, TaskId
from schemas.envelope import encode, seal
from schemas.subjects import Subject
from schemas.tasks import (
    TaskApproved,
    TaskCompleted,
    TaskCreated,
    TaskDeferred,
    TaskEdited,
    TaskQueued,
    TaskStarted,
)
from services.runtime.recording import record
from services.runtime.tasks.task import (
    ALLOWED,
    ALWAYS,
    OF_AGENTS,
    Approve,
    Change,
    Check,
    Edit,
    NotPossible,
    Say,
    Start,
    decide,
    end_attempt,
    evolve,
    possible,
)

T1 = TaskId("T1")
RUN = RunId("w1")
SUBJECT = str(Subject("acme", "atlas", entity="task", id=T1))
ANA = "person:portal:ana"


def created(state="pending_approval", **fields):
    fields = {"title": "sweep", "plan": ("look", "act"), **fields}
    return TaskCreated(task_id=T1, state=state, **fields)


PASTS = {
    "pending_approval": (created(),),
    "backlog": (created("backlog"),),
    "ready": (created("ready"),),
    "in_progress": (created("ready"), TaskStarted(task_id=T1, attempt=1)),
    "done": (created("ready"), TaskCompleted(task_id=T1)),
    "cancelled": (created("ready"), Change("cancel")),
}


def given(*past, actor=ANA):
    """Fold events, and commands of a person."""
    task = None
    for seq, each in enumerate(past, start=1):
        event = each if hasattr(each, "task_id") else decide(task, each, by="person")
        envelope = seal(event, id=EventId(f"e{seq}"), at=seq, actor=actor)
        task = evolve(task, record(seq, SUBJECT, encode(envelope)))
    return task


COMMANDS = {
    "approve": (Approve(), "ready"),
    "queue": (Change("queue"), "ready"),
    "start": (Start(), "in_progress"),
    "done": (Change("done"), "done"),
    "defer": (Change("defer"), "backlog"),
    "cancel": (Change("cancel"), "cancelled"),
    "reopen": (Change("reopen"), "backlog"),
    "edit": (Edit(title="mop"), None),
    "check": (Check(1), None),
    "comment": (Say("hm"), None),
}
"""Each command, and the state behind it; None: as before."""

POSSIBLE = {
    "pending_approval": "approve cancel edit comment",
    "backlog": "queue cancel edit comment",
    "ready": "start done defer cancel edit check comment",
    "in_progress": "done defer cancel edit check comment",
    "done": "reopen comment",
    "cancelled": "reopen comment",
}
OF_AN_AGENT = {
    "pending_approval": "cancel edit comment",
    "backlog": "edit comment",
    "ready": "start edit comment",
    "in_progress": "done check comment",
    "done": "comment",
    "cancelled": "comment",
}


@pytest.mark.parametrize("by", ["person", "agent"])
@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize("state", POSSIBLE)
def test_every_command_in_every_state_is_done_or_refused_with_what_is_possible(state, verb, by):
    task = given(*PASTS[state])
    assert task.state == state
    command, after = COMMANDS[verb]
    table = POSSIBLE if by == "person" else OF_AN_AGENT
    if verb not in table[state].split():
        with pytest.raises(NotPossible) as refused:
            decide(task, command, by=by)
        assert str(refused.value).endswith(f"but: {', '.join(possible(task, by))}")
        assert set(possible(task, by)) == set(table[state].split())
        return
    event = decide(task, command, by=by)
    recorded = record(9, SUBJECT, encode(seal(event, id=EventId("e9"), at=9, actor="x")))
    changed = evolve(task, recorded)
    asks_again = (by, verb) == ("agent", "edit")
    assert changed.state == ("pending_approval" if asks_again else after or state)
    assert (changed.revision, changed.seq, changed.changed_at) == (task.revision + 1, 9, 9)


def test_every_command_can_be_given_in_some_state_and_every_state_is_known():
    assert set(ALLOWED) == set(COMMANDS)
    assert set(OF_AGENTS) < set(ALLOWED)
    assert set(POSSIBLE) == ALWAYS


def test_who_approved_is_recorded_and_gone_when_other_work_is_proposed():
    task = given(created(), actor="branch")
    assert task.approved_by is None
    task = given(created(), Approve())
    assert (task.state, task.approved_by) == ("ready", ANA)
    changed = decide(task, Edit(description="delete everything"), by="agent")
    assert changed == TaskEdited(
        task_id=T1, description="delete everything", state="pending_approval"
    )
    task = given(created(), Approve(), changed)
    assert (task.state, task.approved_by) == ("pending_approval", None)


def test_an_agent_may_change_the_priority_of_what_was_approved():
    task = given(created(), Approve())
    assert decide(task, Edit(priority="urgent", goal=GoalId("G1")), by="agent").state is None


def test_what_waits_for_another_task_is_approved_to_the_backlog_and_not_queued_or_started():
    waiting = {"by": "person", "waiting_for": [TaskId("T7")]}
    approved = decide(given(created()), Approve(), **waiting)
    assert approved == TaskApproved(task_id=T1, state="backlog")
    for state, command in (("backlog", Change("queue")), ("ready", Start())):
        with pytest.raises(NotPossible, match="T1 waits for T7"):
            decide(given(*PASTS[state]), command, **waiting)
    assert decide(given(created("backlog")), Change("queue"), by="person") == TaskQueued(task_id=T1)


def test_a_person_may_approve_for_later():
    assert decide(given(created()), Approve(later=True), by="person").state == "backlog"


def test_an_edit_says_what_changes_and_nothing_else():
    task = given(created("backlog", goal=GoalId("G1")))
    event = decide(task, Edit(title="sweep", priority="low", goal=GoalId("")), by="person")
    assert event == TaskEdited(task_id=T1, priority="low", goal=GoalId(""))
    assert given(created("backlog", goal=GoalId("G1")), event).goal is None
    with pytest.raises(NotPossible, match="nothing would change"):
        decide(task, Edit(title="sweep"), by="person")


def test_an_edit_of_what_somebody_else_changed_meanwhile_is_refused():
    task = given(created("backlog"), Edit(title="mop"))
    with pytest.raises(NotPossible, match="revision 2, not 1"):
        decide(task, Edit(title="wipe", revision=1), by="person")
    assert decide(task, Edit(title="wipe", revision=2), by="person").title == "wipe"


def test_steps_are_checked_one_by_one_and_a_new_plan_begins_anew():
    task = given(created("ready"), Check(2), Check(1))
    assert task.checked == (1, 2)
    assert given(created("ready"), Check(2), Check(1), Check(2, done=False)).checked == (1,)
    for step in (0, 3):
        with pytest.raises(NotPossible, match="2 steps"):
            decide(task, Check(step), by="person")
    with pytest.raises(NotPossible, match="done already"):
        decide(task, Check(1), by="person")
    assert given(created("ready"), Check(2), Edit(plan=("other",))).checked == ()


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("succeeded", "done"),
        ("partial", "backlog"),
        ("failed", "backlog"),
        ("timed_out", "backlog"),
        ("cancelled", "backlog"),
        ("blocked", "backlog"),
    ],
)
def test_the_end_of_a_worker_is_the_end_of_its_attempt_once(outcome, state):
    started = TaskStarted(task_id=T1, attempt=1, run_id=RUN, conversation="portal/tasks")
    task = given(created("ready"), started)
    ended = end_attempt(task, RUN, outcome, "so")
    assert ended.state == state
    task = given(created("ready"), started, ended)
    assert (task.state, task.attempts[0].outcome, task.attempts[0].result) == (state, outcome, "so")
    assert task.at_work is None
    assert end_attempt(task, RUN, outcome, "so") is None
    assert end_attempt(task, RunId("other"), outcome, "so") is None


def test_a_late_end_of_a_worker_does_not_move_a_task_that_has_gone_on():
    started = TaskStarted(task_id=T1, attempt=1, run_id=RUN)
    task = given(created("ready"), started, TaskDeferred(task_id=T1))
    ended = end_attempt(task, RUN, "succeeded", "late")
    assert ended.state is None
    assert given(created("ready"), started, TaskDeferred(task_id=T1), ended).state == "backlog"
    again = TaskStarted(task_id=T1, attempt=2, run_id=RunId("w2"))
    past = (created("ready"), started, TaskDeferred(task_id=T1), TaskQueued(task_id=T1), again)
    task = given(*past)
    assert end_attempt(task, RUN, "succeeded", "late").state is None
    assert end_attempt(task, RunId("w2"), "succeeded", "").state == "done"


def test_an_agent_leaves_the_end_of_a_worker_to_the_worker():
    task = given(created("ready"), TaskStarted(task_id=T1, attempt=1, run_id=RUN))
    with pytest.raises(NotPossible, match="worker w1 is at work"):
        decide(task, Change("done"), by="agent")
    assert decide(task, Change("done"), by="person") == TaskCompleted(task_id=T1)
