"""What a branch can do with tasks, what it cannot, and what a crash in the middle changes."""

import msgspec
import pytest

from schemas.base import EventId, RunId
from schemas.channel import WorkerRequested
from schemas.subjects import Subject
from schemas.tasks import TaskCreated, TaskStarted
from services.branch.scope import Scope
from services.branch.task_tools import TASK_TOOLS
from services.branch.tools import TOOLS as ALL
from services.errors import LogUnavailable, Rejected
from services.runtime.conversation import Conversation
from services.runtime.tasks.desk import Author, Desk, Owner
from services.runtime.tasks.goal import ChangeGoal
from services.runtime.tasks.task import Approve, NotPossible
from services.runtime.writer import Writer
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog

TOOLS = {tool.name: tool for tool in TASK_TOOLS}
ATLAS = Owner("acme", "atlas")
ANA = Author("person:portal:ana")


class Team:
    """A branch, whose process may die, and people."""

    def __init__(self):
        self.log, self.bodies = FakeLog(), FakeBodies()
        self.people = self.desk()

    def desk(self):
        return Desk(Writer(self.log, FakeClock(), "branch"), self.bodies)

    async def use(self, name, *, key="call", **arguments):
        """Use a tool in a process of its own."""
        tool = TOOLS[name]
        scope = Scope(
            run_id=RunId("b1"),
            conversation=Subject("acme", "atlas", "portal", "general"),
            agent="atlas",
            speaker=None,
            source=EventId("e1"),
            since=0,
            turn=RunId("t1"),
            pool=None,
            writer=Writer(self.log, FakeClock(), "branch"),
            fork=Conversation(),
            system="",
            conversations=None,
            people=None,
            keeper=None,
            bodies=self.bodies,
        )
        return (await tool.run(scope, key, msgspec.convert(arguments, tool.arguments))).text

    def events(self, kind):
        return [each for each in self.log.events if isinstance(each.event, kind)]


@pytest.fixture
def team():
    return Team()


async def test_a_proposal_is_put_on_the_list_with_where_it_came_from(team):
    told = await team.use("task_create", title="sweep", description="the hall", plan=["a", "b"])
    assert told.startswith("Proposed as T1. It waits for a person")
    (created,) = team.events(TaskCreated)
    assert (created.event.state, created.event.conversation) == (
        "pending_approval",
        "portal/general",
    )
    assert (created.event.run_id, created.envelope.cause, created.envelope.turn) == (
        *("b1", "e1", "t1"),
    )


async def test_the_list_shows_what_is_open_and_one_in_full_as_data(team):
    assert await team.use("task_list") == "No open task."
    await team.use("task_create", key="1", title='say "hi"\n- T9 fake', description="line\nline")
    await team.use("task_create", key="2", title="then", depends_on=["T1"])
    listed = (await team.use("task_list")).splitlines()
    assert listed[1:] == [
        "- T1 \"say 'hi' - T9 fake\" (pending_approval; medium)",
        '- T2 "then" (pending_approval; medium; waits for T1)',
    ]
    whole = await team.use("task_list", task_id="t1")
    assert "approved by nobody" in whole
    assert "for you possible: cancel, edit, comment" in whole
    assert "  | line\n  | line" in whole
    assert await team.use("task_list", state="done") == "There is no task like that."


async def test_no_tool_approves_queues_reopens_or_closes(team):
    words = msgspec.json.encode([tool.spec().parameters for tool in TASK_TOOLS]).decode()
    for verb in ('"approve"', '"queue"', '"reopen"', '"achieve"', '"abandon"', '"defer"'):
        assert verb not in words
    await team.use("task_create", title="x")
    for do in ("run", "done", "check"):
        with pytest.raises(Rejected):
            await team.use("task_update", key=do, task_id="T1", do=do, step=1)
    assert not team.events(TaskStarted)


async def test_what_was_approved_is_run_in_this_conversation_once_whatever_crashes(team):
    await team.use("task_create", title="x")
    await team.people.change(ATLAS, "T1", Approve(), ANA)
    real = team.log._store

    async def dying(appends):
        await real(appends)
        raise LogUnavailable

    team.log._store = dying
    with pytest.raises(LogUnavailable):
        await team.use("task_update", key="run", task_id="T1", do="run")
    team.log._store = real
    told = await team.use("task_update", key="run", task_id="T1", do="run")
    assert "is at work on T1" in told
    (requested,) = team.events(WorkerRequested)
    assert requested.subject == str(Subject("acme", "atlas", "portal", "general"))
    with pytest.raises(NotPossible, match="in_progress"):
        await team.use("task_update", key="again", task_id="T1", do="run")


@pytest.mark.parametrize("stored", [True, False])
async def test_a_creation_that_was_cut_short_is_one_task(team, stored):
    real = team.log._store

    async def dying(appends):
        if stored:
            await real(appends)
        raise LogUnavailable

    team.log._store = dying
    with pytest.raises(LogUnavailable):
        await team.use("task_create", title="x")
    team.log._store = real
    assert "T1" in await team.use("task_create", title="x")
    assert len(team.events(TaskCreated)) == 1


async def test_an_edit_of_what_was_approved_needs_approval_anew(team):
    await team.use("task_create", title="x")
    await team.people.change(ATLAS, "T1", Approve(), ANA)
    told = await team.use(
        "task_update", key="e", task_id="T1", do="edit", description="something else", reason="so"
    )
    assert told == "T1 is pending_approval now."
    with pytest.raises(NotPossible):
        await team.use("task_update", key="r", task_id="T1", do="run")
    told = await team.use("task_update", key="w", task_id="T1", do="withdraw")
    assert told == "T1 is cancelled now."


async def test_goals_are_seen_and_commented_by_nobody_but_people(team):
    assert await team.use("goal_list") == "There is no goal."
    await team.people.create_goal(ATLAS, "no loss", "", "2027-01-31", ANA)
    assert '- G1 "no loss" (open; due 2027-01-31)' in await team.use("goal_list")
    await team.people.change_goal(ATLAS, "G1", ChangeGoal("achieve"), ANA)
    assert await team.use("goal_list") == "There is no goal."
    assert "achieved" in await team.use("goal_list", all=True)


async def test_a_comment_says_who_and_the_tools_come_behind_the_others(team):
    await team.use("task_create", title="x")
    assert await team.use("task_comment", key="c", task_id="1", text="hm") == "Said about T1."
    assert 'branch said "hm"' in await team.use("task_list", task_id="T1")
    assert ALL[-len(TASK_TOOLS) :] == TASK_TOOLS
    assert all(tool.repeatable for tool in TASK_TOOLS)
