"""How the ingest service is put together."""

from collections.abc import Mapping
from functools import partial

from services.ingest.folder import Folder
from services.ingest.reader import Reader
from services.ingest.service import Ingestion
from services.ingest.watch import Watch
from services.runtime.documents import DocumentLog, Documents
from services.runtime.process import Process
from services.runtime.retries import Retries
from services.runtime.supervisor import Loop


def build(process: Process) -> Mapping[str, Loop]:
    """Return the loops of this service."""
    config, settings = process.config, process.config.ingest
    writer = process.writer("ingest")
    documents = DocumentLog(process.log)
    reader = Reader(read_s=settings.read_s, memory_bytes=settings.memory_bytes)
    ingestion = Ingestion(writer, process.bodies, documents, reader)
    retries = Retries("ingest", ingestion.handlers, writer, process.stopping)
    loops: dict[str, Loop] = {
        "ingest": partial(ingestion.run, process.stopping),
        "ingest retries": retries.run,
    }
    if settings.watch:
        intake = Documents(writer, process.bodies, process.agents, documents, settings.max_bytes)
        folders = {
            agent: Folder((config.data_dir / "ingest" / agent).absolute())
            for agent in config.agents
        }
        watch = Watch(intake, config.tenant, folders)
        loops["ingest folder"] = partial(
            watch.run, process.pause, process.stopping, settings.poll_s
        )
    return loops
