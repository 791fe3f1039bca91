"""Tasks on the log: once each, whoever else is at it, whatever crashes."""

import asyncio

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from schemas.base import EventId, RunId, TaskId
from schemas.channel import CancelRequested, WorkerRequested
from schemas.subjects import Subject
from schemas.tasks import TaskAttemptEnded, TaskCreated, TaskStarted
from services.errors import LogUnavailable, Rejected
from services.runtime.tasks.board import UnknownGoal, UnknownTask
from services.runtime.tasks.desk import (
    Author,
    Desk,
    InvalidTask,
    NewTask,
    Owner,
    task_subject,
)
from services.runtime.tasks.goal import ChangeGoal
from services.runtime.tasks.task import Approve, Change, Check, Edit, NotPossible, Say, Start
from services.runtime.writer import Writer
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog

ATLAS = Owner("acme", "atlas")
ANA, BO = Author("person:portal:ana"), Author("person:portal:bo")
AGENT = Author("branch", "agent")
CHANNEL = str(Subject("acme", "atlas", "portal", "tasks"))


class Office:
    def __init__(self, log=None):
        self.log = log or FakeLog()
        self.bodies = FakeBodies()
        self.desk = self.another()

    def another(self):
        """Return the desk of another process."""
        return Desk(Writer(self.log, FakeClock(), "test"), self.bodies)

    async def task(self, *titles, author=ANA, **fields):
        for title in titles:
            task = await self.desk.create(ATLAS, NewTask(title, **fields), author)
        return task

    def events(self, kind):
        return [each.event for each in self.log.events if isinstance(each.event, kind)]

    async def at_work(self):
        await self.task("one")
        task = await self.desk.run(ATLAS, "T1", ANA)
        return task.attempts[0].run_id


@pytest.fixture
def office():
    return Office()


async def test_ids_are_short_and_count_per_agent(office):
    assert (await office.task("one", "two")).task_id == "T2"
    other = await office.desk.create(Owner("acme", "bo"), NewTask("x"), ANA)
    assert other.task_id == "T1"
    board = await office.desk.board(ATLAS)
    assert {board.task(name).title for name in ("2", "t2", "#2", "T2")} == {"two"}
    for name in ("T3", "", "x", "-1", "²"):
        with pytest.raises(UnknownTask):
            board.task(name)


async def test_many_who_create_at_once_get_an_id_each(office):
    desks = [office.another() for _ in range(8)]
    made = await asyncio.gather(*(d.create(ATLAS, NewTask("x"), ANA) for d in desks))
    assert {task.task_id for task in made} == {f"T{n}" for n in range(1, 9)}


async def test_the_same_key_is_the_same_task_and_another_try_of_a_change_changes_nothing(office):
    author = Author("branch", "agent", key="call-1")
    made = [await desk.create(ATLAS, NewTask("x"), author) for desk in (office.desk,) * 2]
    made.append(await office.another().create(ATLAS, NewTask("x"), author))
    assert [task.task_id for task in made] == ["T1"] * 3
    approval = Author("person:portal:ana", key="call-2")
    for desk in (office.desk, office.another()):
        assert (await desk.change(ATLAS, "T1", Approve(), approval)).state == "ready"
    assert len(office.log.events) == 2


async def test_of_two_people_at_once_one_decides_and_the_other_is_told(office):
    await office.task("x", author=AGENT)
    told = await asyncio.gather(
        office.desk.change(ATLAS, "T1", Approve(), ANA),
        office.another().change(ATLAS, "T1", Change("cancel"), BO),
        return_exceptions=True,
    )
    states = [getattr(each, "state", None) for each in told]
    refused = [str(each) for each in told if isinstance(each, Rejected)]
    assert states in (["ready", "cancelled"], ["ready", None], [None, "cancelled"])
    assert len(refused) == states.count(None)
    both = await asyncio.gather(
        *(
            desk.change(ATLAS, "T1", Say(text), ANA)
            for desk, text in ((office.desk, "a"), (office.another(), "b"))
        )
    )
    assert max(each.revision for each in both) == 5 - len(refused)


async def test_two_approvals_at_once_are_one(office):
    await office.task("x", author=AGENT)
    told = await asyncio.gather(
        *(office.another().change(ATLAS, "T1", Approve(), who) for who in (ANA, BO)),
        return_exceptions=True,
    )
    (refused,) = [each for each in told if isinstance(each, NotPossible)]
    assert "T1 is ready: `approve` is not possible, but: start" in str(refused)


async def test_two_who_close_a_circle_at_once_from_two_ends_do_not(office):
    await office.task("a", "b", "c", "d")
    await office.desk.depend(ATLAS, "T2", "T3", ANA)
    await office.desk.depend(ATLAS, "T4", "T1", ANA)
    told = await asyncio.gather(
        office.another().depend(ATLAS, "T1", "T2", ANA),
        office.another().depend(ATLAS, "T3", "T4", BO),
        return_exceptions=True,
    )
    (refused,) = [each for each in told if isinstance(each, NotPossible)]
    assert "would wait for" in str(refused)
    assert "→" in str(refused)


async def test_a_task_cannot_wait_for_itself_twice_or_after_its_end(office):
    await office.task("a", "b")
    with pytest.raises(NotPossible, match="would wait for T1"):
        await office.desk.depend(ATLAS, "T1", "T1", ANA)
    await office.desk.depend(ATLAS, "T1", "T2", ANA)
    with pytest.raises(NotPossible, match="already"):
        await office.desk.depend(ATLAS, "T1", "T2", ANA)
    with pytest.raises(NotPossible, match="does not wait"):
        await office.desk.depend(ATLAS, "T2", "T1", ANA, remove=True)
    await office.desk.change(ATLAS, "T1", Change("cancel"), ANA)
    with pytest.raises(NotPossible, match="cannot wait"):
        await office.desk.depend(ATLAS, "T1", "T2", ANA)


async def test_a_task_is_started_when_all_that_it_waits_for_is_done(office):
    await office.task("first", "second")
    third = await office.task("third", depends_on=["T1", "2"])
    assert third.state == "backlog"
    board = await office.desk.board(ATLAS)
    assert board.waiting_for(TaskId("T3")) == ("T1", "T2")
    await office.desk.change(ATLAS, "T1", Change("done"), ANA)
    with pytest.raises(NotPossible, match="T3 waits for T2"):
        await office.desk.change(ATLAS, "T3", Change("queue"), ANA)
    await office.desk.depend(ATLAS, "T3", "T2", ANA, remove=True)
    await office.desk.change(ATLAS, "T3", Change("queue"), ANA)
    assert (await office.desk.change(ATLAS, "T3", Start(), ANA)).state == "in_progress"


async def test_what_an_agent_proposes_does_not_run_before_a_person_says_so(office):
    task = await office.task("x", author=AGENT)
    assert task.state == "pending_approval"
    for author in (AGENT, ANA):
        with pytest.raises(NotPossible, match="pending_approval"):
            await office.desk.run(ATLAS, "T1", author)
    with pytest.raises(NotPossible, match="for an agent `approve`"):
        await office.desk.change(ATLAS, "T1", Approve(), AGENT)
    await office.desk.change(ATLAS, "T1", Approve(), ANA)
    assert (await office.desk.run(ATLAS, "T1", AGENT)).state == "in_progress"


async def test_a_run_is_started_with_its_worker_and_told_what_people_said(office):
    await office.task("sweep", description="the hall", plan=["look", " act  now "])
    await office.desk.change(ATLAS, "T1", Check(1), ANA)
    await office.desk.change(ATLAS, "T1", Say("mind the cat"), ANA)
    await office.desk.change(ATLAS, "T1", Say("burn it down"), AGENT)
    task = await office.desk.run(ATLAS, "T1", ANA, "portal/general")
    started, requested = office.log.events[-2:]
    assert (started.event.run_id, started.event.conversation) == (
        requested.event.run_id,
        "portal/general",
    )
    assert requested.subject == str(Subject("acme", "atlas", "portal", "general"))
    assert requested.envelope.cause == started.envelope.id
    told = requested.event.task
    assert told.startswith("Task T1: sweep\n\nthe hall")
    assert "1. [x] look\n2. [ ] act now" in told
    assert "- portal:ana: mind the cat" in told
    assert "burn" not in told
    assert task.at_work.run_id == requested.event.run_id


async def test_two_who_run_a_task_at_once_start_one_worker(office):
    await office.task("x")
    told = await asyncio.gather(
        *(office.another().run(ATLAS, "T1", who) for who in (ANA, BO)), return_exceptions=True
    )
    assert sum(isinstance(each, NotPossible) for each in told) == 1
    assert len(office.events(WorkerRequested)) == len(office.events(TaskStarted)) == 1


async def test_a_place_that_is_none_is_refused_and_nothing_happens(office):
    await office.task("x")
    for place in ("general", "/", "portal/", "portal/" + "x" * 99):
        with pytest.raises(InvalidTask, match="adapter/conversation"):
            await office.desk.run(ATLAS, "T1", ANA, place)
    assert not office.events(TaskStarted)


@pytest.mark.parametrize("verb", ["done", "defer", "cancel"])
async def test_a_task_that_goes_on_without_its_worker_has_it_stopped(office, verb):
    run_id = await office.at_work()
    await office.desk.change(ATLAS, "T1", Change(verb), ANA)
    (stop,) = office.events(CancelRequested)
    assert stop.run_id == run_id
    assert office.log.events[-1].subject == CHANNEL


async def test_the_end_of_a_worker_is_kept_once_by_however_many(office):
    run_id = await office.at_work()
    ends = [
        office.another().end_attempt(ATLAS, run_id, "succeeded", "ok", EventId("c"))
        for _ in range(4)
    ]
    told = await asyncio.gather(*ends)
    assert {task.state for task in told} == {"done"}
    assert len(office.events(TaskAttemptEnded)) == 1
    assert await office.desk.end_attempt(ATLAS, RunId("other"), "failed", "", EventId("c")) is None


@pytest.mark.parametrize("stored", [True, False])
async def test_a_crash_around_the_append_and_another_try_have_one_effect(office, stored):
    await office.task("x")
    author = Author("branch", "agent", key="call")
    real = office.log._store

    async def dying(appends):
        if stored:
            await real(appends)
        raise LogUnavailable

    office.log._store = dying
    with pytest.raises(LogUnavailable):
        await office.desk.run(ATLAS, "T1", author)
    office.log._store = real
    assert len(office.events(WorkerRequested)) == len(office.events(TaskStarted)) == int(stored)
    task = await office.another().run(ATLAS, "T1", author)
    assert task.state == "in_progress"
    assert len(office.events(WorkerRequested)) == len(office.events(TaskStarted)) == 1


@pytest.mark.parametrize(
    "new",
    [
        NewTask(" \n"),
        NewTask("x" * 201),
        NewTask("x", plan=["y"] * 31),
        NewTask("x", plan=["y" * 301]),
        NewTask("x", plan=[" "]),
        NewTask("x", description="y" * 32_001),
    ],
)
async def test_what_cannot_be_a_task_is_refused(office, new):
    with pytest.raises(InvalidTask):
        await office.desk.create(ATLAS, new, ANA)


async def test_a_task_for_what_there_is_not_is_refused(office):
    with pytest.raises(UnknownTask):
        await office.task("x", depends_on=["T9"])
    with pytest.raises(UnknownGoal):
        await office.task("x", goal="G9")
    goal = await office.desk.create_goal(ATLAS, "no loss", "", "", ANA)
    assert (await office.task("x", goal="1")).goal == goal.goal_id
    await office.desk.change_goal(ATLAS, "g1", ChangeGoal("achieve"), ANA)
    with pytest.raises(NotPossible, match="achieved"):
        await office.task("y", goal="G1")


async def test_a_long_description_is_kept_beside_the_log_and_told_in_full(office):
    await office.task("x", description="word " * 5_000)
    await office.desk.run(ATLAS, "T1", ANA)
    (requested,) = office.events(WorkerRequested)
    assert len(office.bodies.bodies[requested.task.sha256]) > 24_000


async def test_an_event_that_is_on_the_log_twice_or_of_tomorrow_holds_nobody_up(office):
    await office.task("x")
    first = office.log.events[0]
    office.log._ids.clear()
    await office.log.append(first.subject, first.envelope)
    assert (await office.desk.change(ATLAS, "T1", Say("a"), ANA)).revision == 2
    tomorrow = type(first.envelope)(id="t", type="task_praised", at=1, actor="x", data=b"{}")
    await office.log.append(first.subject, tomorrow)
    assert (await office.desk.change(ATLAS, "T1", Say("b"), ANA)).revision == 3


async def test_another_desk_knows_what_this_one_knows(office):
    await office.task("a", "b", depends_on=[])
    await office.desk.depend(ATLAS, "T2", "T1", ANA)
    await office.desk.change(ATLAS, "T1", Edit(priority="urgent"), ANA)
    here, there = await office.desk.board(ATLAS), await office.another().board(ATLAS)
    assert (here.tasks, here.depends, here.written) == (there.tasks, there.depends, there.written)
    assert [task.task_id for task in here.listing()] == ["T1", "T2"]


class Anybody(RuleBasedStateMachine):
    """People and agents do anything to a few tasks; what must hold, holds."""

    def __init__(self):
        super().__init__()
        self.office = Office()
        self.runs = []

    def attempt(self, doing):
        try:
            return asyncio.run(doing)
        except (NotPossible, UnknownTask):
            return None

    names = st.sampled_from(["T1", "T2", "T3"])
    authors = st.sampled_from([ANA, AGENT])

    @rule(author=authors, waits=st.lists(names, max_size=2))
    def create(self, author, waits):
        self.attempt(
            self.office.desk.create(ATLAS, NewTask("x", plan="ab", depends_on=waits), author)
        )

    @rule(
        name=names,
        author=authors,
        command=st.sampled_from(
            [
                *(Change(v) for v in ("queue", "defer", "done", "cancel", "reopen")),
                *(Approve(), Approve(later=True), Start(), Check(1), Say("x")),
                *(Edit(title="y"), Edit(plan=("c",)), Edit(priority="low")),
            ]
        ),
    )
    def change(self, name, author, command):
        self.attempt(self.office.desk.change(ATLAS, name, command, author))

    @rule(name=names, author=authors)
    def run(self, name, author):
        task = self.attempt(self.office.desk.run(ATLAS, name, author))
        if task is not None:
            self.runs.append(task.at_work.run_id)

    @rule(name=names, on=names, remove=st.booleans())
    def depend(self, name, on, remove):
        self.attempt(self.office.desk.depend(ATLAS, name, on, ANA, remove=remove))

    @rule(outcome=st.sampled_from(["succeeded", "failed"]), data=st.data())
    def end(self, outcome, data):
        if self.runs:
            run_id = data.draw(st.sampled_from(self.runs))
            self.attempt(self.office.desk.end_attempt(ATLAS, run_id, outcome, "", EventId("c")))

    @invariant()
    def holds(self):
        board = asyncio.run(self.office.another().board(ATLAS))
        for task in board.tasks.values():
            assert board._path(task.task_id, task.task_id) == (task.task_id,)
            assert all(
                board._path(on, task.task_id) is None for on in board.depends.get(task.task_id, ())
            ), "a circle"
            approved = task.approved_by
            assert approved is None or approved.startswith("person:")
            assert (approved is None) <= (task.state in {"pending_approval", "cancelled"})
        ended = [each.run_id for each in self.office.events(TaskAttemptEnded)]
        assert len(ended) == len({*ended})
        started = [each.run_id for each in self.office.events(TaskStarted) if each.run_id]
        requested = [each.run_id for each in self.office.events(WorkerRequested)]
        assert started == requested
        created = [each.task_id for each in self.office.events(TaskCreated)]
        assert created == [f"T{n}" for n in range(1, len(created) + 1)]


class TestAnybody(Anybody.TestCase):
    settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_what_depends_on_what_has_a_subject_of_its_own():
    assert task_subject(ATLAS).endswith(".task._")
    assert task_subject(ATLAS, TaskId("T1")).endswith(".task._t1")
