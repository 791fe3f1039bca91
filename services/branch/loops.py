"""How the branch service is put together."""

from collections.abc import Mapping
from dataclasses import replace

from projections import runs
from services.branch.service import Branches
from services.runtime.process import Process
from services.runtime.retries import Retries
from services.runtime.run_decider import Profile
from services.runtime.run_service import RunParts
from services.runtime.supervisor import Loop
from services.runtime.sweep import Sweep

FAILURES = 3  # model calls in a row that may fail, retries and fallbacks included in each


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    settings = process.config.branch
    branches = Branches(
        RunParts(
            writer=process.writer("branch"),
            equipment=replace(process.equipment, step_s=settings.inactivity_timeout_s),
            conversations=process.conversations,
            agents=process.agents,
            profile=Profile(
                kind="branch",
                max_calls=settings.max_turns,
                guard=process.thresholds(process.config.guard.branch),
                total_s=settings.timeout_s,
                ending_tools=frozenset({"spawn_worker"}),
                failures=FAILURES,
            ),
            default_model=process.choice.model,
        ),
        process.pool,
        process.embedder,
    )
    retries = Retries(
        branches.durable, branches.handlers, process.writer("branch"), process.stopping
    )
    sweep = Sweep("branch", process, branches.handle, runs.stalled)
    return {
        "branch": branches.run,
        "branch control": branches.control,
        "branch retries": retries.run,
        "branch sweep": sweep.run,
    }
