"""A projector in a process of its own, to be killed: `NATS_URL DATABASE_URL`."""

import asyncio
import sys

from services.projector.service import Projector
from services.runtime import database
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog


async def main(nats_url: str, database_url: str) -> None:
    """Project until killed."""
    connection = await Connection.open(nats_url)
    pool = await database.connect(database_url)
    await Projector(JetStreamLog(connection), pool).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
