"""How the scheduler service is put together."""

from collections.abc import Mapping

from services.runtime.process import Process
from services.runtime.retries import Retries
from services.runtime.supervisor import Loop
from services.scheduler.delivery import DURABLE, Deliveries
from services.scheduler.service import Scheduler


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    writer = process.writer("scheduler")
    scheduler = Scheduler(
        writer, process.snapshots, process.config.scheduler, process.stopping, process.budgets
    )
    deliveries = Deliveries(writer, process.bodies, process.agents, process.stopping)
    retries = Retries("scheduler", {DURABLE: deliveries.handle}, writer, process.stopping)
    return {
        "scheduler": scheduler.run,
        "scheduler alive": scheduler.mark,
        "scheduler delivery": deliveries.run,
        "scheduler retries": retries.run,
    }
