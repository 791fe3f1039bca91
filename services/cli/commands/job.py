"""`penstock job`: jobs of an agent, defined and steered from the command line."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice

import msgspec

from projections import jobs
from projections.jobs import Job, Occurrence
from schemas.schedule import Misfire, Overlap, Schedule
from services.cli import output
from services.cli.exits import OK
from services.cli.gist import shown
from services.cli.installation import Installation
from services.cli.options import Options
from services.cli.people import actor
from services.runtime.agents import Agents
from services.runtime.clock import SystemClock
from services.runtime.conversations import Conversations
from services.runtime.database import reading
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.jetstream.snapshots import JetStreamSnapshots
from services.runtime.jobs.civil import zone_of
from services.runtime.jobs.desk import By, Jobs, Receipt, UnknownJob, subject_of
from services.runtime.jobs.request import JobRequest
from services.runtime.jobs.schedule import dues
from services.runtime.jobs.why import moment
from services.runtime.writer import Writer

TERMINAL = "portal/terminal"  # where `penstock chat` is


class Named(Options):
    """Arguments of what is about one job."""

    name: str
    agent: str = "main"


class Stop(Named):
    """Arguments of `job pause` and `job delete`."""

    reason: str = ""


class Show(Named):
    """Arguments of `job show`."""

    limit: int = 50


class Listing(Options):
    """Arguments of `job list`."""

    agent: str | None = None
    all: bool = False


class Define(Named):
    """Arguments of `job create` and `job edit`."""

    prompt: str | None = None
    cron: str | None = None
    every: str | None = None
    at: str | None = None
    zone: str | None = None
    start: str | None = None
    end: str | None = None
    active: str | None = None
    jitter: str | None = None
    misfire: Misfire | None = None
    misfire_window: str | None = None
    grace: str | None = None
    overlap: Overlap | None = None
    timeout: str | None = None
    inactivity: str | None = None
    retries: int | None = None
    retry_delay: str | None = None
    breaker_failures: int | None = None
    breaker_cooldown: str | None = None
    to: str | None = None
    model: str | None = None

    def request(self) -> JobRequest:
        """Return what is asked for."""
        fields = {name: getattr(self, name, None) for name in JobRequest.__struct_fields__}
        return msgspec.convert(fields | {"deliver_to": self.to}, JobRequest)


async def create(options: Define) -> int:
    """Define a new job."""
    asked = options.request()
    if asked.deliver_to is None:
        asked = msgspec.structs.replace(asked, deliver_to=TERMINAL)
    return await _do(options, lambda at, desk: desk.create(at, asked, By(actor())), "Defined")


async def edit(options: Define) -> int:
    """Change a job."""
    asked = options.request()
    return await _do(options, lambda at, desk: desk.edit(at, asked, By(actor())), "Changed")


async def pause(options: Stop) -> int:
    """Stop a job until it is resumed."""
    return await _do(
        options, lambda at, desk: desk.pause(at, By(actor()), options.reason), "Paused"
    )


async def resume(options: Named) -> int:
    """Let a job go on."""
    return await _do(options, lambda at, desk: desk.resume(at, By(actor())), "Resumed")


async def delete(options: Stop) -> int:
    """End a job."""
    return await _do(
        options, lambda at, desk: desk.delete(at, By(actor()), options.reason), "Deleted"
    )


async def run(options: Named) -> int:
    """Run a job now."""
    return await _do(options, lambda at, desk: desk.run(at, By(actor())), "Runs now:")


async def _do(options: Named, do: Callable[..., Awaitable[Receipt]], done: str) -> int:
    here = Installation(options)
    subject = subject_of(here.tenant, options.agent, options.name)
    async with _desk(here) as desk:
        receipt = await do(subject, desk)
        state = await desk.conversations.newest(subject)
    if options.json:
        output.document(receipt)
        return OK
    print(f"{done} {options.name} (event {receipt.seq}).")
    job = state.job
    if job is not None and job.standing == "active" and not done.startswith("Runs"):
        schedule = job.definition.schedule
        after = SystemClock().now()
        times = [moment(due, zone_of(schedule.zone)) for due in islice(dues(schedule, after), 3)]
        print(f"Due {', '.join(times)}{' …' if len(times) == 3 else ''}" if times else "Never due.")
    return OK


@asynccontextmanager
async def _desk(here: Installation) -> AsyncIterator[Jobs]:
    async with here.connection() as connection:
        log = JetStreamLog(connection)
        keep = here.config.channel.history_entries
        yield Jobs(
            Writer(log, SystemClock(), actor()),
            JetStreamBodies(connection),
            Conversations(log, JetStreamSnapshots(connection), keep=keep),
            Agents(log),
            here.config.scheduler.zone,
        )


async def listing(options: Listing) -> int:
    """Print the jobs, and when each is due next."""
    here = Installation(options)
    async with here.pool() as pool, reading(pool, here.tenant) as conn:
        found = await jobs.listing(conn, here.tenant, agent=options.agent, deleted=options.all)
    if options.json:
        output.document(found)
        return OK
    if not found:
        print("No job. `penstock job create` makes one.")
        return OK
    now = SystemClock().now()
    rows = [
        (
            job.job,
            job.agent,
            "running" if job.running else job.standing,
            when(job.definition.schedule),
            _next(job, now),
            job.last_outcome or job.last_state or "-",
            output.one_line(shown(job.definition.prompt), 60),
        )
        for job in found
    ]
    output.table(("job", "agent", "state", "when", "next", "last", "prompt"), rows)
    return OK


def when(schedule: Schedule) -> str:
    """Return a schedule as people say it."""
    if schedule.cron is not None:
        said = f"{schedule.cron} {schedule.zone}"
    elif schedule.every_s is not None:
        said = f"every {_length(schedule.every_s)}"
    else:
        said = f"once at {output.when(schedule.once_at or 0)}"
    hours = f" {schedule.active_from}-{schedule.active_to}" if schedule.active_from else ""
    return f"{said}{hours}"


def _length(seconds: int) -> str:
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)


def _next(job: Job, now: int) -> str:
    if job.standing != "active":
        return "-"
    due = next(dues(job.definition.schedule, now), None)
    return "-" if due is None else output.when(due)


async def show(options: Show) -> int:
    """Print a job and its newest occurrences."""
    here = Installation(options)
    async with here.pool() as pool, reading(pool, here.tenant) as conn:
        job = await jobs.one(conn, here.tenant, options.agent, options.name)
        if job is None:
            raise UnknownJob(f"agent {options.agent!r} has no job {options.name!r}")
        newest = await jobs.occurrences(
            conn, here.tenant, options.agent, options.name, limit=options.limit
        )
    if options.json:
        output.document({"job": job, "occurrences": newest})
        return OK
    _print(job, newest)
    return OK


def _print(job: Job, newest: list[Occurrence]) -> None:
    definition = job.definition
    to = definition.deliver_to
    for name, value in (
        ("job", f"{job.job} of {job.agent}"),
        ("state", f"{job.standing} (by {job.changed_by} at {output.when(job.changed_at)})"),
        ("when", when(definition.schedule)),
        ("next", _next(job, SystemClock().now())),
        ("prompt", output.one_line(shown(definition.prompt), 200)),
        ("tells", f"{to.adapter}/{to.conversation}" if to else "nobody"),
        ("model", definition.model or "the agent's"),
        ("misfire", f"{definition.misfire}, within {definition.misfire_window_s:g} s"),
        ("overlap", definition.overlap),
        ("limits", f"{definition.timeout_s:g} s in all, {definition.inactivity_s:g} s a step"),
        ("retries", definition.retries),
    ):
        print(f"{name:8} {value}")
    if newest:
        print()
    rows = [
        (
            output.when(it.due_at),
            it.state,
            it.outcome or it.reason or "",
            output.one_line(it.end_reason or it.refused or it.delivered_to or ""),
        )
        for it in newest
    ]
    if rows:
        output.table(("due", "state", "outcome", "remark"), rows)
