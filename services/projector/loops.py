"""How the projector service is put together."""

from collections.abc import Mapping

from services.projector.service import Projector
from services.runtime.process import Process
from services.runtime.supervisor import Loop


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    projector = Projector(process.log, process.pool, clock=process.clock)

    async def run() -> None:
        await process.until_stopping(projector.run())

    return {"projector": run}
