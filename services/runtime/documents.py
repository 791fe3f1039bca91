"""Documents that are handed in: put on the log once, however often and by however many.

A document is known by its name. The same content again changes nothing; other content under the
same name is the document's next content. What becomes of it is up to the ingest service.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Final, Literal, TypeAlias

import msgspec

from schemas.base import DocumentId, Event, Sha256
from schemas.ingest import DocumentForgotten, DocumentReceived, DocumentRefused, Refusal
from schemas.subjects import InvalidToken
from services.errors import Conflict, Rejected
from services.runtime import ids
from services.runtime.agents import Agents
from services.runtime.behind import HistoryGone, behind
from services.runtime.bodies import BodyStore
from services.runtime.document import Document, DocumentState, document_id, document_subject
from services.runtime.event_log import EventLog
from services.runtime.text import clean
from services.runtime.writer import Writer

LONGEST_NAME: Final = 1_024  # characters
KEPT: Final = 16  # documents whose fold is kept; an event more is then all that is read

StandingState: TypeAlias = DocumentState | Literal["wanted"]


class InvalidDocument(Rejected):
    """The document cannot be taken as it is."""


class UnknownDocument(Rejected):
    """There is no such document."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a document is."""

    document_id: DocumentId
    name: str
    state: StandingState
    """`wanted`: this content is not known; hand it in."""
    is_new: bool = False
    """Whether this call put something on the log."""
    reason: str = ""
    """Why it was refused, as a code."""
    detail: str = ""
    """Why it was refused, for people."""
    chunks: int = 0
    """Passages of the newest content, once they are known."""
    to_store: int = 0
    """How many of them are new or moved."""
    stored: int = 0
    """How many of those are stored."""
    seq: int = 0
    """Last event about it."""

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing more will happen to it by itself."""
        return self.state not in {"wanted", "received", "split"}


class DocumentLog:
    """Reads documents from the log, from where it last was."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._known: OrderedDict[str, Document] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    async def newest(self, subject: str) -> Document:
        """Return the document as it is; it is ours, and later calls change it.

        Raises:
            LogUnavailable: it could not be read.
        """
        async with self._locks.setdefault(subject, asyncio.Lock()):
            document = self._known.setdefault(subject, Document())
            self._known.move_to_end(subject)
            try:
                async for recorded in behind(self._log, subject, document.seq, fresh=True):
                    document.add(recorded)
            except HistoryGone:
                document = self._known[subject] = Document()
                async for recorded in self._log.read(subject, fresh=True):
                    document.add(recorded)
        while len(self._known) > KEPT:
            self._locks.pop(self._known.popitem(last=False)[0], None)
        return document


@dataclass(frozen=True, slots=True)
class Documents:
    """Takes documents in, and forgets them."""

    writer: Writer
    bodies: BodyStore
    agents: Agents
    log: DocumentLog
    most_bytes: int

    async def offer(
        self, tenant: str, agent: str, name: str, *, sha256: Sha256, size: int, by: str
    ) -> Standing:
        """Tell what is known of a content, so that only what is new is sent; refuse a large one.

        Raises:
            UnknownAgent, InvalidDocument: it would not be taken.
            LogUnavailable, LogFull: not now.
        """
        subject, id_, name = await self._place(tenant, agent, name)
        if size > self.most_bytes:
            return await self.too_large(tenant, agent, name, sha256=sha256, size=size, by=by)
        document = await self.log.newest(subject)
        if has_content(document, sha256):
            return standing(id_, document)
        return Standing(document_id=id_, name=name, state="wanted", seq=document.seq)

    async def take(
        self, tenant: str, agent: str, name: str, content: bytes, *, media_type: str, by: str
    ) -> Standing:
        """Put a document on the log unless its newest content is this one.

        Raises:
            UnknownAgent, InvalidDocument: it is not taken.
            LogUnavailable, LogFull: it is not stored, or that is not known; hand it in again.
        """
        digest = sha256(content).hexdigest()
        known = await self.offer(tenant, agent, name, sha256=digest, size=len(content), by=by)
        if known.state != "wanted":
            return known
        body = await self.bodies.put(content, media_type=media_type)
        event = DocumentReceived(document_id=known.document_id, name=known.name, body=body)
        return await self._append(tenant, agent, event, by)

    async def too_large(
        self, tenant: str, agent: str, name: str, *, sha256: Sha256 | None, size: int, by: str
    ) -> Standing:
        """Put on the log that a document is too large to be taken in.

        Raises:
            UnknownAgent, InvalidDocument, LogUnavailable, LogFull: as for `take`.
        """
        detail = (
            f"it has {size:,} bytes; the limit is {self.most_bytes:,} (`ingest.max_bytes`): "
            "split it into parts"
        )
        return await self.refuse(
            *(tenant, agent, name),
            reason="too_large",
            detail=detail,
            by=by,
            sha256=sha256,
            size=size,
        )

    async def refuse(  # noqa: PLR0913 - what is known of it, and why not
        self,
        tenant: str,
        agent: str,
        name: str,
        *,
        reason: Refusal,
        detail: str,
        by: str,
        sha256: Sha256 | None = None,
        size: int = 0,
    ) -> Standing:
        """Put on the log that a document was not taken in; the same content again changes nothing.

        Raises:
            UnknownAgent, InvalidDocument, LogUnavailable, LogFull: as for `take`.
        """
        _, id_, name = await self._place(tenant, agent, name)
        event = DocumentRefused(
            document_id=id_,
            name=name,
            reason=reason,
            detail=detail,
            content_sha256=sha256,
            content_bytes=size,
        )
        return await self._append(tenant, agent, event, by)

    async def forget(self, tenant: str, agent: str, id_: str, *, reason: str, by: str) -> Standing:
        """Put on the log that nothing of a document is to be found any more.

        Raises:
            UnknownDocument: there is none, or it was forgotten already.
            LogUnavailable, LogFull: it is not stored, or that is not known; try again.
        """
        event = DocumentForgotten(document_id=DocumentId(id_), reason=clean(reason)[:1_000])
        subject = self._subject(tenant, agent, id_)
        while True:
            document = await self.log.newest(subject)
            if document.state in {"unknown", "forgotten"}:
                raise UnknownDocument(f"there is no document {id_!r}; see `penstock documents`")
            if await self._try(subject, document.seq, event, "", by):
                return standing(DocumentId(id_), await self.log.newest(subject), is_new=True)

    async def standing(self, tenant: str, agent: str, id_: str) -> Standing:
        """Return how a document is.

        Raises:
            UnknownDocument: there is none.
            LogUnavailable: not now.
        """
        document = await self.log.newest(self._subject(tenant, agent, id_))
        if document.state == "unknown":
            raise UnknownDocument(f"there is no document {id_!r}; see `penstock documents`")
        return standing(DocumentId(id_), document)

    async def _place(self, tenant: str, agent: str, name: str) -> tuple[str, DocumentId, str]:
        await self.agents.get(tenant, agent)
        name = document_name(name)
        id_ = document_id(tenant, agent, name)
        return document_subject(tenant, agent, id_), id_, name

    def _subject(self, tenant: str, agent: str, id_: str) -> str:
        try:
            return document_subject(tenant, agent, id_)
        except InvalidToken:
            raise UnknownDocument(f"there is no document {id_[:80]!r}") from None

    async def _append(
        self, tenant: str, agent: str, event: DocumentReceived | DocumentRefused, by: str
    ) -> Standing:
        """Append unless the document's newest state says the same."""
        subject = document_subject(tenant, agent, event.document_id)
        if isinstance(event, DocumentReceived):
            what = event.body.sha256
        else:
            what = f"{event.reason} {event.content_sha256}"
        while True:
            document = await self.log.newest(subject)
            if _says(document, event):
                return standing(event.document_id, document)
            if await self._try(subject, document.seq, event, what, by):
                document = await self.log.newest(subject)
                return standing(event.document_id, document, is_new=True)

    async def _try(self, subject: str, expected: int, event: Event, what: str, by: str) -> bool:
        """Append as the next event of the stream; tell whether nobody was faster."""
        tag = str(event.__struct_config__.tag)
        id_ = ids.derived(tag, subject, what, str(expected))
        envelope = self.writer.seal(event, id=id_, actor=by)
        try:
            await self.writer.log.append_if(subject, expected, envelope)
        except Conflict:
            return False
        return True


def has_content(document: Document, sha256: Sha256) -> bool:
    """Tell whether this is the newest content, and was taken in."""
    received = document.received
    return received is not None and sha256 == document.sha256 == received.body.sha256


def _says(document: Document, event: DocumentReceived | DocumentRefused) -> bool:
    if isinstance(event, DocumentReceived):
        return has_content(document, event.body.sha256)
    refused = (document.state, document.reason, document.sha256)
    return refused == ("refused", event.reason, event.content_sha256)


def document_name(raw: str) -> str:
    """Return the name under which a document is known.

    Raises:
        InvalidDocument: it is no relative path of visible characters.
    """
    name = clean(raw)
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or len(name) > LONGEST_NAME:
        raise InvalidDocument(
            f"{name[:80]!r} cannot be the name of a document: take a relative path without `..`, "
            f"at most {LONGEST_NAME:,} characters"
        )
    if not name.isprintable():
        raise InvalidDocument("the name of a document has only visible characters")
    return "/".join(parts)


def standing(id_: DocumentId, document: Document, *, is_new: bool = False) -> Standing:
    """Return how a document is, as others are told."""
    return Standing(
        document_id=id_,
        name=document.name,
        state=document.state,
        is_new=is_new,
        reason=document.reason,
        detail=document.detail,
        chunks=document.chunks,
        to_store=document.to_store,
        stored=document.stored,
        seq=document.seq,
    )
