"""Run ingestion: read what was handed in, and put on the log what follows from it.

Consumes:  document_received
Emits:     document_split, chunks_stored, chunks_removed, document_ingested, document_refused
Never:     calls a model, needs the database

Every event is appended only behind the one that it was decided on. So any number of replicas, and
a process that takes over from one that died, tell the same story once.
"""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec
import structlog

from schemas.envelope import tag_of
from schemas.ingest import IngestEvent
from schemas.subjects import matching
from services.errors import Conflict
from services.ingest.decider import decide
from services.ingest.reader import Reader
from services.ingest.reading import Read
from services.runtime import ids
from services.runtime.bodies import BodyStore
from services.runtime.document import Document
from services.runtime.documents import DocumentLog
from services.runtime.event_log import Delivery, Handler, Recorded
from services.runtime.writer import Writer

PATTERN: Final = matching(entity="ingest")
TYPES: Final = frozenset({"document_received"})
AT_ONCE: Final = 4  # documents: one is read while what was found in others is stored

log = structlog.get_logger()


class Ingestion:
    """Brings what can be found of a document up to its newest content."""

    durable = "ingest"  # names our read position in the log: never rename

    def __init__(
        self, writer: Writer, bodies: BodyStore, documents: DocumentLog, reader: Reader
    ) -> None:
        self._writer = writer
        self._bodies = bodies
        self._documents = documents
        self._reader = reader

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Return who handles the deliveries of which durable consumer."""
        return {self.durable: self.handle}

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until asked to stop."""
        try:
            await self._writer.log.consume(
                self.durable,
                [PATTERN],
                self.handle,
                types=TYPES,
                concurrency=AT_ONCE,
                stop=stopping,
            )
        finally:
            await self._reader.close()

    async def handle(self, delivery: Delivery) -> None:
        """Store what is new in a document, remove what is gone; safe to repeat, and to interrupt.

        Raises:
            LogUnavailable, LogFull: not now; what was stored by then is not stored again.
            Permanent: the content is not in the object store.
        """
        recorded = delivery.recorded
        document = await self._documents.newest(recorded.subject)
        if not _is_open(document, recorded):
            return
        read = await self._read(document)
        while True:
            document = await self._documents.newest(recorded.subject)  # reading takes its time
            if not _is_open(document, recorded):
                return
            try:
                await self._append(recorded, document.seq, decide(document, read))
            except Conflict:
                continue
            log.info(
                "document.settled",
                document=document.name,
                passages=None if not isinstance(read, list) else len(read),
                refused=None if isinstance(read, list) else read.reason,
            )
            return

    async def _read(self, document: Document) -> Read:
        received = document.received
        assert received is not None  # noqa: S101 - it is open
        content = await self._bodies.get(received.body)
        return await self._reader.read(received.name, content)

    async def _append(self, cause: Recorded, seq: int, events: list[IngestEvent]) -> None:
        """Append events one behind the other, the first behind `seq`.

        Raises:
            Conflict: another replica, or a newer content, was first.
        """
        for event in events:
            # The same step of the same content has the same id, whoever takes it: a replica that
            # is as far as we are does not stop us, and one that decided otherwise does.
            digest = sha256(msgspec.json.encode(event)).hexdigest()
            id_ = ids.derived(tag_of(event), cause.envelope.id, str(seq), digest)
            envelope = self._writer.seal(event, id=id_, cause=cause.envelope.id)
            seq = await self._writer.log.append_if(cause.subject, seq, envelope)


def _is_open(document: Document, received: Recorded) -> bool:
    """Tell whether this content is the newest, and something is left to do with it."""
    return document.received_id == received.envelope.id and not document.is_settled
