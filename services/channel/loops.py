"""How the channel service is put together."""

import asyncio
from collections.abc import Mapping
from typing import Final

from projections import jobs, runs
from services.channel.service import DURABLE, Channel, Parts
from services.channel.steering import places
from services.channel.tools import JobLine
from services.errors import Transient
from services.runtime.briefings import Briefings
from services.runtime.config import Config
from services.runtime.conversation import preview
from services.runtime.database import Pool, reading
from services.runtime.jobs.desk import Jobs
from services.runtime.process import Process, thresholds
from services.runtime.retries import Retries
from services.runtime.run_decider import Profile
from services.runtime.supervisor import Loop
from services.runtime.sweep import Sweep

STATUS_S: Final = 0.5  # what workers last said is nice to know; nobody waits longer for it


class ProjectedStatuses:
    """What workers last said, from the projection of runs; nothing while Postgres is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of(self, tenant: str, run_ids: list[str]) -> dict[str, str]:
        """Return status by run id."""
        try:
            async with asyncio.timeout(STATUS_S), reading(self._pool, tenant) as conn:
                found = [await runs.one(conn, tenant, run_id) for run_id in run_ids]
        except (Transient, TimeoutError):
            return {}
        return {run.run_id: run.status for run in found if run is not None and run.status}


class ProjectedJobs:
    """Jobs, from their projection."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def listing(self, tenant: str, agent: str) -> list[JobLine]:
        """Return a line for each job of an agent."""
        async with reading(self._pool, tenant) as conn:
            found = await jobs.listing(conn, tenant, agent=agent)
        return [
            JobLine(
                places(it.definition),
                f"- {it.job} ({it.standing}): {_when(it)}",
                preview(it.definition.prompt),
            )
            for it in found
        ]


def _when(job: jobs.Job) -> str:
    schedule = job.definition.schedule
    when = schedule.cron or (f"every {schedule.every_s} s" if schedule.every_s else "once")
    last = job.last_outcome or job.last_state or "not run yet"
    return f"{when} {schedule.zone}; last: {last}"


def profile(config: Config) -> Profile:
    """Return how turns behave."""
    return Profile(
        kind="turn",
        max_calls=config.channel.max_turns,
        guard=thresholds(config.guard.turn),
        total_s=3_600.0,
        ending_tools=frozenset({"reply", "skip"}),
    )


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    settings = process.config.channel
    channel = Channel(
        Parts(
            writer=process.writer("channel"),
            equipment=process.equipment,
            conversations=process.conversations,
            agents=process.agents,
            settings=settings,
            profile=profile(process.config),
            statuses=ProjectedStatuses(process.pool),
            workspace=process.workspace,
            default_model=process.choice.model,
            briefings=Briefings(
                process.log,
                process.clock,
                people_tokens=process.config.cortex.people_tokens,
            ),
            jobs=Jobs(
                process.writer("channel"),
                process.bodies,
                process.conversations,
                process.agents,
                process.config.scheduler.zone,
            ),
            job_index=ProjectedJobs(process.pool),
        )
    )
    sweep = Sweep("turn", process, channel.handle, runs.stalled)
    retries = Retries(
        DURABLE, {DURABLE: channel.handle}, process.writer("channel"), process.stopping
    )
    return {
        "channel": channel.run,
        "channel retries": retries.run,
        "channel sweep": sweep.run,
    }
