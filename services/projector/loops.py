"""How the projector service is put together."""

from collections.abc import Mapping

from services.projector.indexing import Indexer
from services.projector.lags import Lags
from services.projector.service import Projector
from services.projector.tracing import Tracing
from services.runtime.process import Process
from services.runtime.supervisor import Loop
from services.runtime.telemetry.live import LIVE, Recorder


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    indexer = Indexer(process.pool, process.embedder, process.clock)
    projector = Projector(process.log, process.pool, indexer=indexer, clock=process.clock)

    async def run() -> None:
        await process.until_stopping(projector.run())

    async def index() -> None:
        await process.until_stopping(indexer.run())

    loops: dict[str, Loop] = {"projector": run, "projector vectors": index}
    if LIVE.recorder is not None:
        loops |= _telling(process, projector, LIVE.recorder)
    return loops


def _telling(process: Process, projector: Projector, recorder: Recorder) -> Mapping[str, Loop]:
    """Return the loops that tell spans and metrics, where the environment asks for them."""
    tracing = Tracing(
        process.log,
        process.snapshots,
        process.bodies,
        pool=process.pool,
        recorder=recorder,
        settings=process.config.telemetry,
        clock=process.clock,
    )
    lags = Lags(process.connection, projector, recorder, process.clock)

    async def trace() -> None:
        await process.until_stopping(tracing.run())

    async def look() -> None:
        await process.until_stopping(lags.run())

    return {"projector tracing": trace, "projector lags": look}
