"""The services there are, and how each puts its loops together.

A service is `services.NAME` with a module `loops` that has `build(process) -> {name: loop}`.
It is imported only when it is started, and always by name: services never import one another.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from services.errors import Rejected
from services.runtime.process import Process
from services.runtime.supervisor import Loop

SERVICES: Final = (
    *("projector", "channel", "branch", "worker"),
    *("compactor", "cortex", "ingest", "scheduler", "api"),
)


class UnknownService(Rejected):
    """There is no such service."""


def build(name: str, process: Process) -> Mapping[str, Loop]:
    """Return the loops of the service `name`.

    Raises:
        UnknownService: names those that there are.
    """
    if name not in SERVICES:
        raise UnknownService(f"no service {name!r}; there are: {', '.join(SERVICES)}")
    loops: Mapping[str, Loop] = import_module(f"services.{name}.loops").build(process)
    return loops
