"""Jobs from conversation: one tool with typed arguments, for everything that can be done to one."""

from itertools import islice
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from schemas.schedule import Misfire, Overlap
from schemas.subjects import Subject
from services.channel.tools import JobLine, Scope
from services.errors import Rejected
from services.runtime import forks, ids
from services.runtime.jobs.civil import zone_of
from services.runtime.jobs.desk import By, Receipt, subject_of
from services.runtime.jobs.request import NOWHERE, JobRequest
from services.runtime.jobs.schedule import dues
from services.runtime.jobs.why import moment
from services.runtime.tool import Tool, ToolOutput


class ScheduleJob(Struct, frozen=True):
    """Arguments of `schedule`."""

    action: Annotated[
        Literal["create", "edit", "pause", "resume", "delete", "run", "list"],
        Meta(description="What to do. `run` runs it now; `edit` keeps what is not given."),
    ]
    job: Annotated[
        str, Meta(description="Short name of the job, such as `inbox`; not for `list`.")
    ] = ""
    prompt: Annotated[
        str | None,
        Meta(description="What each run is to do, complete: it knows nothing of this talk."),
    ] = None
    cron: Annotated[
        str | None,
        Meta(description="When: minute hour day month weekday. `0 9 * * 1-5`: weekdays at 9."),
    ] = None
    every: Annotated[str | None, Meta(description="When: an interval, `30m`, `2h`, `1d`.")] = None
    at: Annotated[
        str | None, Meta(description="When: a single time in the zone, `2026-05-01 09:00`.")
    ] = None
    zone: Annotated[
        str | None, Meta(description="IANA time zone, `Europe/Berlin`; ask if you do not know it.")
    ] = None
    active: Annotated[
        str | None, Meta(description="Only between these hours, `09:00-17:00`; `none`: any.")
    ] = None
    end: Annotated[str | None, Meta(description="Not after this time; `none`: for ever.")] = None
    overlap: Annotated[
        Overlap | None, Meta(description="Due while an earlier run goes on; usually `skip`.")
    ] = None
    misfire: Annotated[
        Misfire | None, Meta(description="Times missed while nothing ran; usually `once`.")
    ] = None
    timeout: Annotated[str | None, Meta(description="Longest run, `10m`.")] = None
    silent: Annotated[
        bool, Meta(description="True to tell results nowhere; otherwise they are told here.")
    ] = False
    reason: Annotated[str, Meta(description="Why, to pause or delete it.")] = ""


async def _schedule(scope: Scope, key: str, arguments: ScheduleJob) -> ToolOutput:
    here = scope.turn.subject
    if arguments.action == "list":
        return await _list(scope, here)
    forks.check(scope.turn.state.fork)
    if scope.jobs is None:
        raise Rejected("There are no jobs here.")
    job = subject_of(here.tenant, here.agent or "", arguments.job.strip())
    speaker = scope.turn.state.speaker
    by = By(
        f"channel for {speaker.id}" if speaker else "channel",
        cause=scope.turn.holder,
        turn=scope.turn.turn_id,
        id=ids.derived("job", scope.turn.turn_id, key),
        since=scope.turn.check().seq,
    )
    await _do(scope, job, arguments, by)
    done = {"run": "runs now", "create": "is scheduled", "edit": "is changed"}.get(
        arguments.action, f"is {arguments.action}d"
    )
    return ToolOutput(f"Job {job.conversation} {done}.{await _next(scope, job, arguments.action)}")


async def _do(scope: Scope, job: Subject, arguments: ScheduleJob, by: By) -> Receipt:
    if scope.jobs is None:
        raise Rejected("There are no jobs here.")
    match arguments.action:
        case "create":
            here = scope.turn.subject
            told = NOWHERE if arguments.silent else f"{here.adapter}/{here.conversation}"
            return await scope.jobs.create(job, replace(_asked(arguments), deliver_to=told), by)
        case "edit":
            return await scope.jobs.edit(job, _asked(arguments), by)
        case "pause":
            return await scope.jobs.pause(job, by, arguments.reason)
        case "resume":
            return await scope.jobs.resume(job, by)
        case "delete":
            return await scope.jobs.delete(job, by, arguments.reason)
        case _:
            return await scope.jobs.run(job, by)


def _asked(arguments: ScheduleJob) -> JobRequest:
    return JobRequest(
        prompt=arguments.prompt,
        cron=arguments.cron,
        every=arguments.every,
        at=arguments.at,
        zone=arguments.zone,
        active=arguments.active,
        end=arguments.end,
        overlap=arguments.overlap,
        misfire=arguments.misfire,
        timeout=arguments.timeout,
    )


async def _next(scope: Scope, job: Subject, action: str) -> str:
    """Say when the job is due next, so that a wrong time is noticed."""
    if scope.jobs is None or action not in {"create", "edit", "resume"}:
        return ""
    state = await scope.jobs.conversations.newest(job)
    if state.job is None or state.job.standing != "active":
        return ""
    schedule = state.job.definition.schedule
    now = scope.turn.writer.clock.now()
    times = [moment(due, zone_of(schedule.zone)) for due in islice(dues(schedule, now), 2)]
    return f" It is due {', then '.join(times)}." if times else " It is not due again."


async def _list(scope: Scope, here: Subject) -> ToolOutput:
    if scope.job_index is None:
        raise Rejected("There are no jobs here.")
    found = await scope.job_index.listing(here.tenant, here.agent or "")
    lines = [line for job in found if (line := await _shown(scope, here, job))]
    return ToolOutput("Jobs:\n" + "\n".join(lines) if lines else "There are no jobs.")


async def _shown(scope: Scope, here: Subject, job: JobLine) -> str:
    """Return what may be known here of a job: nothing if it works for a closed conversation."""
    if job.told is None:
        return job.line
    place = here._replace(adapter=job.told.adapter, conversation=job.told.conversation)
    if place != here:
        there = await scope.turn.conversations.newest(place)
        if there.private or not there.group:
            return ""
    return f"{job.line}; {job.prompt}"


SCHEDULE: Final[Tool[Scope, Any]] = Tool(
    "schedule",
    "Create, edit, pause, resume, delete, run or list jobs: tasks that run by the clock, each run "
    "on its own, its result told in this conversation.",
    ScheduleJob,
    _schedule,
    repeatable=True,
)
