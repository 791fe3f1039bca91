"""How the projector service is put together."""

from collections.abc import Mapping

from services.projector.indexing import Indexer
from services.projector.service import Projector
from services.runtime.process import Process
from services.runtime.supervisor import Loop


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    indexer = Indexer(process.pool, process.embedder, process.clock)
    projector = Projector(process.log, process.pool, indexer=indexer, clock=process.clock)

    async def run() -> None:
        await process.until_stopping(projector.run())

    async def index() -> None:
        await process.until_stopping(indexer.run())

    return {"projector": run, "projector vectors": index}
