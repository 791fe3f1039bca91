"""Jobs over HTTP: defined, steered, run, told, and explained."""

import pytest

from schemas.schedule import OccurrenceFired
from services.runtime.jobs.desk import subject_of
from tests.support.portal import shared_portal  # noqa: F401 - found by name
from tests.support.servers import until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

JOBS = "/api/v1/agents/main/jobs"


async def define(portal, name, **said):
    body = {"prompt": "say tick", "every": "1h", **said}
    return await portal.http.put(f"{JOBS}/{name}", json=body)


async def job(portal, name):
    await portal.projected()
    return (await portal.http.get(f"{JOBS}/{name}")).raise_for_status().json()


async def ended(portal, name):
    async def is_ended():
        found = await portal.http.get(f"{JOBS}/{name}")
        there = found.json().get("occurrences", []) if found.status_code == 200 else []
        return there and all(it["ended_at"] for it in there if it["state"] == "fired")

    await until(is_ended, timeout_s=30)


async def test_a_job_is_defined_shown_listed_and_ended(portal):
    receipt = (await define(portal, "shown", deliver_to="portal/jobs")).raise_for_status()
    assert receipt.status_code == 201
    found = (await job(portal, "shown"))["job"]
    assert (found["standing"], found["definition"]["schedule"]["every_s"]) == ("active", 3_600)
    listed = (await portal.http.get(JOBS)).json()["items"]
    assert "shown" in [it["job"] for it in listed]
    (await portal.http.delete(f"{JOBS}/shown")).raise_for_status()
    assert (await job(portal, "shown"))["job"]["standing"] == "deleted"
    listed = (await portal.http.get(JOBS)).json()["items"]
    assert "shown" not in [it["job"] for it in listed]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"every": None, "cron": "* * * * * *"}, "has 6 fields"),
        ({"every": "soon"}, "no length of time"),
        ({"zone": "Mars/Olympus"}, "no IANA time zone"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_the_reason(portal, said, reason):
    answer = await define(portal, "refused", **said)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_schedule")
    assert reason in answer.json()["error"]["message"]


async def test_a_job_that_is_there_is_not_defined_again_and_one_that_is_not_cannot_be_changed(
    portal,
):
    (await define(portal, "twice")).raise_for_status()
    assert (await define(portal, "twice")).status_code == 409
    answer = await portal.http.patch(f"{JOBS}/nobody", json={"every": "2h"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_job")


async def test_a_run_is_told_where_it_should_be_and_why_says_so(portal):
    (await define(portal, "told", deliver_to="portal/told-here")).raise_for_status()
    async with portal.stream("told-here", after=0) as stream:
        (await portal.http.post(f"{JOBS}/told/run", json={"author": "ana"})).raise_for_status()
        heard = await stream.until("reply", text="tick")
        assert heard.data["role"] == "agent"
    await ended(portal, "told")
    answer = (await portal.http.get(f"{JOBS}/told/why")).raise_for_status().json()
    (line,) = answer["lines"]
    assert (line["verdict"], line["manual"]) == ("ran", True)
    assert line["why"].startswith("run now by person:portal:ana; succeeded after")
    assert line["why"].endswith("told portal/told-here")


async def test_a_pause_is_explained_by_who_made_it(portal):
    (await define(portal, "paused", every="1s")).raise_for_status()
    body = {"author": "ana", "reason": "too loud"}
    (await portal.http.post(f"{JOBS}/paused/pause", json=body)).raise_for_status()
    assert (await portal.http.post(f"{JOBS}/paused/pause", json=body)).status_code == 409

    async def held():
        answer = (await portal.http.get(f"{JOBS}/paused/why")).json()
        return [it for it in answer["lines"] if it["verdict"] == "paused"]

    await until(held, timeout_s=20)
    (line, *_) = await held()
    assert "paused by person:portal:ana" in line["why"]
    assert line["why"].endswith("too loud")
    (await portal.http.post(f"{JOBS}/paused/resume")).raise_for_status()
    (await portal.http.delete(f"{JOBS}/paused")).raise_for_status()


async def test_an_edit_holds_for_the_next_time_and_a_deleted_job_is_still_explained(portal):
    (await define(portal, "edited", every="1s", grace="1s")).raise_for_status()
    await ended(portal, "edited")
    (await portal.http.patch(f"{JOBS}/edited", json={"every": "1h"})).raise_for_status()
    found = await job(portal, "edited")
    assert found["job"]["definition"]["prompt"] == "say tick"
    (await portal.http.delete(f"{JOBS}/edited")).raise_for_status()
    answer = (await portal.http.get(f"{JOBS}/edited/why")).json()
    assert {it["verdict"] for it in answer["lines"]} <= {"ran", "running", "skipped"}
    assert answer["lines"]
    missed = (await portal.http.get("/api/v1/why/missed")).raise_for_status().json()
    assert "edited" not in [it["job"] for it in missed["items"]]


async def test_the_rows_and_the_log_give_the_same_answer(portal):
    (await define(portal, "same", every="1s", grace="1s")).raise_for_status()
    await ended(portal, "same")
    (await portal.http.delete(f"{JOBS}/same")).raise_for_status()
    await ended(portal, "same")
    await portal.projected()
    rows = (await portal.http.get(f"{JOBS}/same")).json()["occurrences"]
    subject = str(subject_of("default", "main", "same"))
    log = [
        recorded
        async for recorded in portal.process.log.read(subject, fresh=True)
        if isinstance(recorded.event, OccurrenceFired)
    ]
    fired = [it for it in rows if it["state"] == "fired"]
    assert [it["occurrence"] for it in fired[::-1]] == [it.envelope.id for it in log]


async def test_a_job_is_made_in_conversation_and_tells_its_results_there(portal):
    heard = await portal.settled("from-talk", "every 2 seconds say ping")
    said = [it.data["text"] for it in heard if it.name == "reply"]
    assert said[-1].startswith("Job ping is scheduled. It is due ")
    async with portal.stream("from-talk", after=0) as stream:
        await stream.until("reply", text="ping")
    await portal.settled("from-talk", "delete job ping")
    assert (await job(portal, "ping"))["job"]["standing"] == "deleted"


async def test_a_message_is_explained_by_its_own_id_and_by_its_turn(portal):
    await portal.settled("explained", "hello")
    await portal.projected()
    page = (await portal.http.get(f"{portal.place('explained')}/messages")).json()
    message, reply = page["items"][:2]
    for ref in (message["event_id"], message["message_id"], reply["turn_id"]):
        found = (await portal.http.get(f"/api/v1/why/{ref}")).raise_for_status().json()
        assert (found["ref"], found["standing"]) == (message["event_id"], "answered")
        assert {step["service"] for step in found["steps"]} == {"channel"}
    answer = await portal.http.get("/api/v1/why/nothing-like-it")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_message")
