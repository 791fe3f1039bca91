"""How the compactor is put together."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from projections import runs
from services.compactor.compactions import Compactions
from services.compactor.decider import Limits
from services.compactor.service import DURABLE, PATTERN, TRIGGERS, Compactor
from services.runtime.config import Config
from services.runtime.conversation import EVERYTHING
from services.runtime.conversations import Conversations
from services.runtime.process import Process, thresholds
from services.runtime.retries import Retries
from services.runtime.run_decider import Profile
from services.runtime.run_loop import Equipment
from services.runtime.run_service import RunParts
from services.runtime.supervisor import Loop
from services.runtime.sweep import Sweep

FAILURES: Final = 3  # model calls in a row that may fail, retries and fallbacks included in each
CALLS: Final = 2  # one is enough; a model that calls a tool which it does not have is asked again
AT_ONCE: Final = 16  # conversations that a process looks at, or summarises


def profile(config: Config) -> Profile:
    """Return how compactions behave."""
    return Profile(
        kind="compaction",
        max_calls=CALLS,
        guard=thresholds(config.guard.branch),
        total_s=config.compactor.timeout_s,
        failures=FAILURES,
    )


def limits(config: Config) -> Limits:
    """Return what a conversation may fill."""
    settings = config.compactor
    return Limits(
        window_tokens=config.models.context_window_tokens,
        keep=config.channel.history_entries,
        background=settings.background_at,
        larger=settings.larger_at,
        emergency=settings.emergency_at,
        rollup_at=settings.rollup_at,
        rollup_of=settings.rollup_of,
    )


def equipped(equipment: Equipment, config: Config) -> Equipment:
    """Return what compactions are given of what all runs share."""
    settings = config.compactor
    return replace(equipment, step_s=settings.timeout_s, max_output_tokens=settings.summary_tokens)


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    writer = process.writer("compactor")
    folds = Conversations(
        process.log, process.snapshots, keep=EVERYTHING, beside=process.conversations
    )
    compactor = Compactor(writer, folds, limits(process.config))
    compactions = Compactions(
        RunParts(
            writer=writer,
            equipment=equipped(process.equipment, process.config),
            conversations=folds,
            agents=process.agents,
            profile=profile(process.config),
            default_model=process.choice.model,
            concurrency=AT_ONCE,
        ),
        process.config.compactor.model,
    )
    watch = partial(
        process.log.consume,
        DURABLE,
        [PATTERN],
        compactor.handle,
        types=TRIGGERS,
        concurrency=AT_ONCE,
        stop=process.stopping,
    )
    handlers = {DURABLE: compactor.handle, compactions.durable: compactions.handle}
    retries = Retries(DURABLE, handlers, writer, process.stopping)
    sweep = Sweep("compaction", process, compactions.handle, runs.stalled)
    return {
        "compactor": watch,
        "compactor runs": compactions.run,
        "compactor retries": retries.run,
        "compactor sweep": sweep.run,
    }
