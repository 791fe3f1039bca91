"""Ingestion in a process of its own, to be killed: `NATS_URL FOLDER`, both loops of the service."""

import asyncio
import sys
from pathlib import Path

from services.ingest.folder import Folder
from services.ingest.reader import Reader
from services.ingest.service import Ingestion
from services.ingest.watch import Watch
from services.runtime.agents import Agents
from services.runtime.clock import SystemClock
from services.runtime.documents import DocumentLog, Documents
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.writer import Writer

MOST_BYTES = 5_000_000
POLL_S = 0.05
ACK_WAIT_S = 1.0  # a dead owner's document is taken over soon


async def main(nats_url: str, folder: str) -> None:
    """Take in what lies in the folder, and read it, until killed."""
    connection = await Connection.open(nats_url)
    log, bodies = JetStreamLog(connection, ack_wait_s=ACK_WAIT_S), JetStreamBodies(connection)
    writer, documents = Writer(log, SystemClock(), "ingest"), DocumentLog(log)
    reader = Reader(read_s=60.0, memory_bytes=1 << 30)
    intake = Documents(writer, bodies, Agents(log), documents, MOST_BYTES)
    watch = Watch(intake, "acme", {"atlas": Folder(Path(folder))})
    never = asyncio.Event()
    await asyncio.gather(
        Ingestion(writer, bodies, documents, reader).run(never),
        watch.run(asyncio.sleep, never, POLL_S),
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
