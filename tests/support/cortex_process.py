"""A cortex that looks often, in a process of its own, to be killed: `NATS_URL DATABASE_URL DIR`."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from services.cortex import loops
from services.runtime.config import Config, CortexSettings
from services.runtime.embedded.servers import Urls
from services.runtime.offline import OfflineModel
from services.runtime.process import opened

OFTEN_S = 0.02
THINKS_S = 0.3  # long enough to be killed in the middle of it


class SlowModel(OfflineModel):
    """Takes its time."""

    async def complete(self, request, on_delta=None):
        await asyncio.sleep(THINKS_S)
        return await super().complete(request, on_delta)


async def main(nats_url: str, database_url: str, directory: str) -> None:
    """Tend until killed."""
    loops.EVERY_S = loops.SELDOM_S = OFTEN_S
    settings = CortexSettings(briefing_interval_s=0, synthesis_memories=5, synthesis_interval_s=0)
    config = Config(data_dir=Path(directory), cortex=settings, model="offline/rules")
    async with opened(config, Urls(nats=nats_url, database=database_url)) as process:
        process.equipment = replace(process.equipment, model=SlowModel())
        await asyncio.gather(*(loop() for loop in loops.build(process).values()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
