"""Tasks and goals over the HTTP interface, on a whole installation with a worker that works."""

import asyncio

import pytest

from schemas.channel import WorkerConcluded, WorkerRequested
from schemas.subjects import matching
from schemas.tasks import TaskAttemptEnded
from services.projector.check import check
from services.projector.source import LogSource
from services.runtime.tasks.desk import Author, Desk, NewTask, Owner
from tests.support.portal import portal_maker, shared_portal  # noqa: F401 - found by name
from tests.support.servers import until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

TASKS, GOALS = "/api/v1/agents/main/tasks", "/api/v1/agents/main/goals"
MAIN = Owner("default", "main")


async def post(portal, path, *, status=200, author="ana", **body):
    response = await portal.http.post(path, json={"author": author, **body})
    assert response.status_code == status, response.text
    return response.json()


async def create(portal, title, **body):
    return (await post(portal, TASKS, status=201, title=title, **body))["task"]["task_id"]


async def get(portal, path):
    return (await portal.http.get(path)).raise_for_status().json()


async def proposed(portal, title, **fields):
    process = portal.process
    desk = Desk(process.writer("branch"), process.bodies)
    return (await desk.create(MAIN, NewTask(title, **fields), Author("branch", "agent"))).task_id


async def test_a_proposal_runs_after_a_person_said_so_and_its_end_comes_back(portal):
    id_ = await proposed(portal, "run: echo swept")
    path = f"{TASKS}/{id_}"
    refused = await post(portal, f"{path}/run", status=409)
    assert "pending_approval" in refused["error"]["message"]
    assert "approve" in refused["error"]["message"]
    approved = await post(portal, f"{path}/state", move="approve", reason="go", author="bo")
    assert approved["task"]["approved_by"] == "person:portal:bo"
    assert "start" in approved["possible"]
    running = await post(portal, f"{path}/run", status=202, conversation="portal/office")
    assert running["task"]["state"] == "in_progress"

    async def is_done():
        return (await get(portal, path))["task"]["state"] != "in_progress"

    await until(is_done, timeout_s=60)
    (attempt,) = (await get(portal, path))["task"]["attempts"]
    assert (attempt["outcome"], "swept" in attempt["result"]) == ("succeeded", True), attempt
    (row,) = [
        each
        for each in (await get(portal, f"{TASKS}?states=done"))["items"]
        if each["task_id"] == id_
    ]
    assert (row["outcome"], row["attempts"], row["run_id"]) == ("succeeded", 1, attempt["run_id"])
    history = (await get(portal, f"{path}/history"))["items"]
    assert [(each["type"], each["actor"]) for each in reversed(history)] == [
        ("task_created", "branch"),
        ("task_approved", "person:portal:bo"),
        ("task_started", "person:portal:ana"),
        ("task_attempt_ended", "worker"),
    ]
    assert history[2]["data"]["reason"] == "go"


async def test_tasks_are_listed_in_pages_with_what_they_wait_for(portal):
    first, second = await create(portal, "first"), await create(portal, "second")
    third = await create(portal, "third", depends_on=[first, second])
    await post(portal, f"{TASKS}/{first}/state", move="done")
    page = await get(portal, f"{TASKS}?limit=2")
    assert [each["task_id"] for each in page["items"]] == [first, third]
    assert page["items"][1]["waiting_for"] == [second]
    rest = await get(portal, f"{TASKS}?limit=1&before={page['next']}")
    assert rest["items"][0]["task_id"] == second
    circle = await post(portal, f"{TASKS}/{second}/dependencies", status=409, on=third)
    assert "in the end" in circle["error"]["message"]
    removed = await post(portal, f"{TASKS}/{third}/dependencies", on=second, remove=True)
    assert (removed["depends_on"], removed["waiting_for"]) == ([first], [])


async def test_a_task_is_edited_checked_and_commented(portal):
    id_ = await create(portal, "wash", plan=["soak", "rinse"], key="k1")
    assert await create(portal, "wash", plan=["soak", "rinse"], key="k1") == id_
    path = f"{TASKS}/{id_}"
    await post(portal, f"{path}/steps", step=2)
    await post(portal, f"{path}/comments", text="with soap")
    edited = await post(portal, f"{path}/edit", title="wash it", priority="urgent", revision=3)
    task = edited["task"]
    assert (task["title"], task["checked"], task["comments"][0]["text"]) == (
        "wash it",
        [2],
        "with soap",
    )
    stale = await post(portal, f"{path}/edit", status=409, title="no", revision=3)
    assert "revision 4, not 3" in stale["error"]["message"]
    (row,) = [e for e in (await get(portal, TASKS))["items"] if e["task_id"] == id_]
    assert (row["title"], row["priority"], row["checked"]) == ("wash it", "urgent", [2])


async def test_two_people_who_start_the_same_task_start_one_worker(portal):
    id_ = await create(portal, "run: echo once")
    path = f"{TASKS}/{id_}/run"
    bodies = [{"author": name} for name in ("ana", "bo", "cy")]
    answers = await asyncio.gather(*(portal.http.post(path, json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409]
    run_id = (await get(portal, f"{TASKS}/{id_}"))["task"]["attempts"][0]["run_id"]
    channel = matching("default", "main", entity="channel")
    asked = [
        each.event.run_id
        async for each in portal.process.log.read(channel, fresh=True)
        if isinstance(each.event, WorkerRequested)
    ]
    assert asked.count(run_id) == 1


async def test_an_end_that_is_told_twice_counts_once(portal):
    id_ = await create(portal, "run: echo twice")
    await post(portal, f"{TASKS}/{id_}/run", status=202, conversation="portal/twice")

    async def ended():
        return (await get(portal, f"{TASKS}/{id_}"))["task"]["attempts"][0].get("outcome")

    await until(ended, timeout_s=60)
    run_id = (await get(portal, f"{TASKS}/{id_}"))["task"]["attempts"][0]["run_id"]
    again = WorkerConcluded(run_id=run_id, outcome="failed", result="again")
    seq = await portal.append(portal.subject("twice"), again)
    desk = Desk(portal.process.writer("worker"), portal.process.bodies)
    task = await desk.end_attempt(MAIN, run_id, "failed", "again", "c")
    assert (task.state, seq > 0) == ("done", True)
    ends = [
        each.event
        async for each in portal.process.log.read(matching(*MAIN, entity="task"), fresh=True)
        if isinstance(each.event, TaskAttemptEnded) and each.event.run_id == run_id
    ]
    assert len(ends) == 1


async def test_goals_are_closed_by_people_and_know_their_tasks(portal):
    made = await post(portal, GOALS, status=201, title="clean", due="2027-01-31")
    id_ = made["goal"]["goal_id"]
    task = await create(portal, "sweep", goal=id_)
    found = await get(portal, f"{GOALS}/{id_}")
    assert [each["task_id"] for each in found["tasks"]] == [task]
    assert [e["task_id"] for e in (await get(portal, f"{TASKS}?goal={id_}"))["items"]] == [task]
    await post(portal, f"{GOALS}/{id_}/comments", text="soon")
    await post(portal, f"{GOALS}/{id_}/edit", title="very clean")
    closed = await post(portal, f"{GOALS}/{id_}/state", move="achieve", reason="shines")
    assert closed["goal"]["closed_by"] == "person:portal:ana"
    listed = await get(portal, GOALS)
    assert id_ not in [each["goal_id"] for each in listed["items"]]
    listed = await get(portal, f"{GOALS}?all=true")
    assert ("very clean", "achieved") in [(e["title"], e["state"]) for e in listed["items"]]
    history = (await get(portal, f"{GOALS}/{id_}/history"))["items"]
    assert [each["type"] for each in history] == [
        *("goal_closed", "goal_edited", "goal_commented", "goal_created"),
    ]
    again = await post(portal, f"{GOALS}/{id_}/state", status=409, move="abandon")
    assert "but: reopen, comment" in again["error"]["message"]


@pytest.mark.parametrize("path", [f"{TASKS}/T999", f"{GOALS}/G999", f"{TASKS}/nonsense"])
async def test_what_there_is_not_is_not_found(portal, path):
    for suffix in ("", "/history"):
        assert (await portal.http.get(path + suffix)).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TASKS, {"title": ""}),
        (TASKS, {"title": "x", "priority": "huge"}),
        (TASKS, {"title": "x", "unknown": 1}),
        (GOALS, {"title": "x", "due": "tomorrow"}),
    ],
)
async def test_what_cannot_be_written_down_is_refused(portal, path, body):
    response = await portal.http.post(path, json={"author": "ana", **body})
    assert response.status_code in {400, 422}, response.text
    unsigned = await portal.http.post(TASKS, json={"title": "nobody's"})
    assert unsigned.status_code in {400, 422}


async def test_the_interface_is_documented(portal):
    paths = (await get(portal, "/api/v1/openapi.json"))["paths"]
    assert {p for p in paths if "/tasks" in p or "/goals" in p} >= {
        "/api/v1/agents/{agent}/tasks",
        "/api/v1/agents/{agent}/tasks/{task}/state",
        "/api/v1/agents/{agent}/tasks/{task}/run",
        "/api/v1/agents/{agent}/goals/{goal}/state",
    }


@pytest.mark.parametrize("name", ["tasks", "goals"])
async def test_a_rebuild_finds_the_same_rows(portal, name):
    await portal.projected()
    checked = await check(portal.process.pool, name, LogSource(portal.process.log))
    assert (checked.different, checked.rows > 0) == (0, True), checked.examples
