"""How the worker service is put together."""

from collections.abc import Mapping
from dataclasses import replace

from projections import runs
from services.runtime.config import Config
from services.runtime.process import Process, thresholds
from services.runtime.retries import Retries
from services.runtime.run_decider import Profile
from services.runtime.run_service import RunParts
from services.runtime.supervisor import Loop
from services.runtime.sweep import Sweep
from services.runtime.tasks.desk import Desk
from services.worker.outcomes import DURABLE, TaskOutcomes
from services.worker.service import Workers
from services.worker.tools import WorkerScope

FAILURES = 3  # model calls in a row that may fail, retries and fallbacks included in each


def profile(config: Config) -> Profile:
    """Return how workers behave."""
    settings = config.worker
    return Profile(
        kind="worker",
        max_calls=settings.segment_turns * settings.segments,
        guard=thresholds(config.guard.worker),
        segment_calls=settings.segment_turns,
        total_s=settings.timeout_s,
        text_ends=False,
        nudges=settings.tool_nudges,
        failures=FAILURES,
    )


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    config = process.config
    settings = config.worker

    def scope_of(tenant: str, agent: str) -> WorkerScope:
        return WorkerScope(
            process.sandbox_of(tenant, agent),
            shell_timeout_s=config.sandbox.shell_timeout_s,
            output_bytes=settings.tool_output_bytes,
        )

    workers = Workers(
        RunParts(
            writer=process.writer("worker"),
            equipment=replace(process.equipment, step_s=settings.inactivity_timeout_s),
            conversations=process.conversations,
            agents=process.agents,
            profile=profile(config),
            default_model=process.choice.model,
        ),
        scope_of,
    )
    writer = process.writer("worker")
    outcomes = TaskOutcomes(writer, Desk(writer, process.bodies), process.stopping)
    handlers = {**workers.handlers, DURABLE: outcomes.handle}
    retries = Retries(workers.durable, handlers, writer, process.stopping)
    sweep = Sweep("worker", process, workers.handle, runs.stalled)
    return {
        "worker": workers.run,
        "worker control": workers.control,
        "worker retries": retries.run,
        "worker sweep": sweep.run,
        "worker task outcomes": outcomes.run,
    }
