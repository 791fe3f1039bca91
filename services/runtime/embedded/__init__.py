"""NATS and Postgres for a machine that has neither, started and stopped with the program.

    async with Servers(config) as urls: ...

Everything is under the data directory: `nats/`, `postgres/`, `lock`.
"""

from services.runtime.embedded.lock import DataDirectoryInUse
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.embedded.postgres import EmbeddedPostgres
from services.runtime.embedded.server import ServerFailed
from services.runtime.embedded.servers import Servers, ServerStatus, Urls

__all__ = [
    "DataDirectoryInUse",
    "EmbeddedNats",
    "EmbeddedPostgres",
    "ServerFailed",
    "ServerStatus",
    "Servers",
    "Urls",
]
