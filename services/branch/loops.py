"""How the branch service is put together."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from projections import runs
from services.branch.occasions import Occasions
from services.branch.service import Branches
from services.runtime.config import Config
from services.runtime.process import Process, thresholds
from services.runtime.retries import Retries
from services.runtime.run_decider import Profile
from services.runtime.run_service import RunParts
from services.runtime.supervisor import Loop
from services.runtime.sweep import Sweep

FAILURES = 3  # model calls in a row that may fail, retries and fallbacks included in each


def profile(config: Config) -> Profile:
    """Return how branches behave."""
    settings = config.branch
    return Profile(
        kind="branch",
        max_calls=settings.max_turns,
        guard=thresholds(config.guard.branch),
        total_s=settings.timeout_s,
        ending_tools=frozenset({"spawn_worker"}),
        failures=FAILURES,
    )


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    settings = process.config.branch
    branches = Branches(
        RunParts(
            writer=process.writer("branch"),
            equipment=replace(process.equipment, step_s=settings.inactivity_timeout_s),
            conversations=process.conversations,
            agents=process.agents,
            profile=profile(process.config),
            default_model=process.choice.model,
        ),
        process.pool,
        process.embedder,
        process.config.persistence,
    )
    occasions = Occasions(
        process.writer("branch"), process.conversations, process.pool, process.config.persistence
    )
    retries = Retries(
        branches.durable, branches.handlers, process.writer("branch"), process.stopping
    )
    sweep = Sweep("branch", process, branches.handle, runs.stalled)
    loops: dict[str, Loop] = {
        "branch": branches.run,
        "branch control": branches.control,
        "branch retries": retries.run,
        "branch sweep": sweep.run,
    }
    if process.config.persistence.enabled:
        loops["branch persistence"] = partial(occasions.run, process)
    return loops
