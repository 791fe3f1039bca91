"""How the cortex is put together."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog
from psycopg.errors import UndefinedTable

from services.cortex.associations import Associations
from services.cortex.briefer import Briefer
from services.cortex.days_kept import DaysKept
from services.cortex.knowledge import Knowledge
from services.cortex.reading import Around
from services.cortex.similarity import Similarity
from services.cortex.supervision import Supervision
from services.cortex.synthesis import DURABLE, Syntheses, SynthesisParts
from services.cortex.tending import Tending
from services.errors import ServiceError
from services.runtime.config import Config
from services.runtime.process import Process, thresholds
from services.runtime.retries import Retries
from services.runtime.run_decider import Profile
from services.runtime.supervisor import Loop

EVERY_S: Final = 15.0  # between two looks; a look at agents at rest is one small query
SELDOM_S: Final = 60.0  # where nobody waits for the outcome
FAILURES: Final = 3  # model calls in a row that may fail, retries and fallbacks included in each
SYNTHESIS_S: Final = 900.0  # a synthesis may take in all; nobody waits for it

log = structlog.get_logger()

Look = Callable[[int], Awaitable[Any]]


def periodic(process: Process, name: str, seconds: float, look: Look) -> Loop:
    """Return a loop that looks every so many seconds; what fails is tried at the next look."""

    async def run() -> None:
        while not process.stopping.is_set():
            try:
                await look(process.clock.now())
            except (ServiceError, UndefinedTable) as error:  # before the first migration
                log.info("cortex.skipped", loop=name, reason=str(error))
            await process.pause(seconds)

    return run


def profile(config: Config) -> Profile:
    """Return how syntheses behave."""
    return Profile(
        kind="synthesis",
        max_calls=2,  # a text ends it; the second is for a model that tried to use a tool
        guard=thresholds(config.guard.branch),
        total_s=SYNTHESIS_S,
        failures=FAILURES,
    )


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    config, settings = process.config, process.config.cortex
    writer, pool = process.writer("cortex"), process.pool
    syntheses = Syntheses(
        SynthesisParts(
            writer=writer,
            equipment=replace(process.equipment, step_s=SYNTHESIS_S),
            agents=process.agents,
            profile=profile(config),
            default_model=process.choice.model,
        )
    )
    around = Around(pool, process.clock)
    tending = Tending(
        pool,
        process.agents,
        (
            DaysKept(writer, around, settings),
            Knowledge(writer, process.bodies, around, process.live, settings, syntheses.handle),
            Briefer(writer, process.bodies, around, settings),
        ),
    )
    associations = Associations(writer, pool, settings, Similarity(process.embedder))
    supervision = Supervision(writer, pool, process.conversations, config)
    retries = Retries("cortex", {DURABLE: syntheses.handle}, writer, process.stopping)
    return {
        "cortex": periodic(process, "cortex", EVERY_S, tending.run_once),
        "cortex associations": periodic(process, "associations", SELDOM_S, associations.run_once),
        "cortex supervision": periodic(process, "supervision", SELDOM_S, supervision.run_once),
        "cortex syntheses": syntheses.run,
        "cortex retries": retries.run,
    }
