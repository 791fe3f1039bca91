"""Jobs of an agent, and why anything did or did not happen.

GET     /agents/{agent}/jobs                      the jobs there are
GET     /agents/{agent}/jobs/{job}                one of them, with its newest occurrences
PUT     /agents/{agent}/jobs/{job}                define a new one
PATCH   /agents/{agent}/jobs/{job}                change it; what is left out stays
DELETE  /agents/{agent}/jobs/{job}                end it
POST    /agents/{agent}/jobs/{job}/{doing}        `pause`, `resume` or `run` it
GET     /agents/{agent}/jobs/{job}/why            what should have happened, and what did
GET     /why/missed                               every time that was due and that nobody recorded
GET     /why/{ref}                                what became of a message or a turn
"""

from typing import Annotated, Final, Literal

from litestar import delete, get, patch, post, put
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter
from msgspec import Meta, Struct

from projections import jobs
from projections.jobs import Job, Occurrence
from schemas.subjects import Subject
from services.api import reading
from services.api.explaining import Explaining
from services.api.routes.scope import ADAPTER, AgentName, Parts, Tenant, failures
from services.runtime.jobs.desk import By, Jobs, Receipt, UnknownJob, subject_of
from services.runtime.jobs.request import JobRequest, moment
from services.runtime.jobs.why import Answer
from services.runtime.process import Process
from services.runtime.why_message import Explanation

DAY: Final = 86_400 * 1_000_000
NEWEST: Final = 50

JobName = Annotated[str, PathParameter(description="Name of the job.")]
When = Annotated[
    str | None, QueryParameter(description="`2026-05-01 09:00`, in UTC unless it says otherwise.")
]


class JobPage(Struct, frozen=True, kw_only=True):
    """All jobs."""

    items: list[Job]
    next: None = None


class JobState(Struct, frozen=True, kw_only=True):
    """One job."""

    job: Job
    occurrences: list[Occurrence]
    """The newest, newest first."""


class Change(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who wants it, and why."""

    author: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f\[\]]{1,80}$")] | None = None
    reason: Annotated[str, Meta(max_length=1_000)] = ""


class Missed(Struct, frozen=True, kw_only=True):
    """Jobs with gaps."""

    items: list[Answer]


def _desk(process: Process) -> Jobs:
    return Jobs(
        process.writer("api"),
        process.bodies,
        process.conversations,
        process.agents,
        process.config.scheduler.zone,
    )


def _by(change: Change | None = None) -> By:
    author = change.author if change else None
    return By(f"person:{ADAPTER}:{author}" if author else "api")


async def _place(process: Process, tenant: str, agent: str, job: str) -> Subject:
    await process.agents.get(tenant, agent)
    return subject_of(tenant, agent, job)


@get("/agents/{agent:str}/jobs", summary="List an agent's jobs", responses=failures(404, 503))
async def list_jobs(agent: AgentName, tenant: Tenant, process: Parts) -> JobPage:
    """Return jobs by name."""
    await process.agents.get(tenant, agent)
    async with reading.of_tenant(process.pool, tenant) as conn:
        return JobPage(items=await jobs.listing(conn, tenant, agent=agent))


@get("/agents/{agent:str}/jobs/{job:str}", summary="See a job", responses=failures(404, 422, 503))
async def show_job(agent: AgentName, job: JobName, tenant: Tenant, process: Parts) -> JobState:
    """Return a job and its newest occurrences."""
    await _place(process, tenant, agent, job)
    async with reading.of_tenant(process.pool, tenant) as conn:
        found = await jobs.one(conn, tenant, agent, job)
        if found is None:
            raise UnknownJob(f"agent {agent!r} has no job {job!r}")
        newest = await jobs.occurrences(conn, tenant, agent, job, limit=NEWEST)
    return JobState(job=found, occurrences=newest)


@put(
    "/agents/{agent:str}/jobs/{job:str}",
    status_code=201,
    summary="Define a job",
    responses=failures(404, 409, 413, 415, 422, 503, 507),
)
async def define_job(
    agent: AgentName, job: JobName, tenant: Tenant, process: Parts, data: JSONBody[JobRequest]
) -> Receipt:
    """Define a job that there is not yet; what cannot be honoured is refused with the reason."""
    place = await _place(process, tenant, agent, job)
    return await _desk(process).create(place, data, _by())


@patch(
    "/agents/{agent:str}/jobs/{job:str}",
    summary="Change a job",
    responses=failures(404, 409, 413, 415, 422, 503, 507),
)
async def edit_job(
    agent: AgentName, job: JobName, tenant: Tenant, process: Parts, data: JSONBody[JobRequest]
) -> Receipt:
    """Change a job; it holds for every time that is not recorded yet."""
    place = await _place(process, tenant, agent, job)
    return await _desk(process).edit(place, data, _by())


@delete(
    "/agents/{agent:str}/jobs/{job:str}",
    status_code=200,
    summary="End a job",
    responses=failures(404, 409, 422, 503, 507),
)
async def delete_job(agent: AgentName, job: JobName, tenant: Tenant, process: Parts) -> Receipt:
    """End a job; what it did stays known."""
    place = await _place(process, tenant, agent, job)
    return await _desk(process).delete(place, _by())


@post(
    "/agents/{agent:str}/jobs/{job:str}/{doing:str}",
    status_code=202,
    summary="Pause, resume or run a job",
    responses=failures(404, 409, 413, 415, 422, 503, 507),
)
async def change_job(
    agent: AgentName,
    job: JobName,
    doing: FromPath[Literal["pause", "resume", "run"]],
    tenant: Tenant,
    process: Parts,
    data: JSONBody[Change | None] = None,
) -> Receipt:
    """Do it; a run does not wait for its time, nor for a pause or the breaker."""
    place = await _place(process, tenant, agent, job)
    desk, by = _desk(process), _by(data)
    match doing:
        case "pause":
            return await desk.pause(place, by, data.reason if data else "")
        case "resume":
            return await desk.resume(place, by)
        case "run":
            return await desk.run(place, by)


@get(
    "/agents/{agent:str}/jobs/{job:str}/why",
    summary="See why a job ran or did not",
    responses=failures(404, 422, 503),
)
async def why_job(
    agent: AgentName,
    job: JobName,
    tenant: Tenant,
    process: Parts,
    at: When = None,
    since: When = None,
) -> Answer:
    """Return what should have happened and what did: in the minute `at`, or `since` (a day)."""
    await process.agents.get(tenant, agent)
    explaining = Explaining(process.log, process.pool, tenant)
    now, zone = process.clock.now(), process.config.scheduler.zone
    if at is not None:
        return await explaining.job_at(agent, job, moment(at, zone), now=now)
    after = moment(since, zone) - 1 if since is not None else now - DAY
    return await explaining.job(agent, job, after=after, until=now, now=now)


@get("/why/missed", summary="See every gap", responses=failures(422, 503))
async def why_missed(tenant: Tenant, process: Parts, since: When = None) -> Missed:
    """Return, of every job, the times that nobody recorded in time; of a day without `since`."""
    now = process.clock.now()
    after = moment(since, process.config.scheduler.zone) - 1 if since is not None else now - DAY
    explaining = Explaining(process.log, process.pool, tenant)
    return Missed(items=await explaining.missed(after=after, now=now))


@get("/why/{ref:str}", summary="See what became of a message", responses=failures(404, 422, 503))
async def why_message(ref: FromPath[str], tenant: Tenant, process: Parts) -> Explanation:
    """Return which service took it, which step took long, and where it stands."""
    explaining = Explaining(process.log, process.pool, tenant)
    return await explaining.message(ref, now=process.clock.now())


routes = [
    list_jobs,
    show_job,
    define_job,
    edit_job,
    delete_job,
    change_job,
    why_job,
    why_missed,
    why_message,
]
