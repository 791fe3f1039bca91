"""Documents that an agent can search.

POST  /agents/{agent}/documents                      hand one in, or ask whether it is known
GET   /agents/{agent}/documents                      which there are, from the read model
GET   /agents/{agent}/documents/{document}           how far one is, from the log
GET   /agents/{agent}/documents/{document}/stream    the same as it gets on, until it rests
POST  /agents/{agent}/documents/{document}/forget    let nothing of it be found any more
"""

from hashlib import sha256
from mimetypes import guess_type
from typing import Annotated, Final, TypeAlias

from litestar import Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, SkipValidation
from litestar.types import ASGIApp
from msgspec import Meta, Struct

from projections import passages
from projections.passages import NEWEST, Document
from schemas.base import Sha256
from services.api import reading
from services.api.faults import InvalidName
from services.api.feed.progress import progress
from services.api.feed.sse import EventStream
from services.api.routes.pages import Before, Limit, following
from services.api.routes.scope import AgentName, Parts, Tenant, failures
from services.api.routes.stream import Meters, check_room, streaming
from services.runtime.documents import DocumentLog, Documents, Standing
from services.runtime.process import Process

BY: Final = "api"
Intake: TypeAlias = NamedDependency[SkipValidation[Documents]]


class NewDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document, or the question whether it is known."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1_024,
            description="A relative path. Another content under the same name is the same "
            "document, changed.",
        ),
    ]
    sha256: Annotated[Sha256, Meta(description="SHA-256 of the content, hexadecimal.")]
    size: Annotated[int, Meta(ge=0, description="Bytes of the content.")]
    content: Annotated[
        bytes | None,
        Meta(
            description="The content, in base64. Left out, the answer is `wanted` where it has to "
            "be sent."
        ),
    ] = None


class Forget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a document is to be forgotten."""

    reason: str = ""


class DocumentPage(Struct, frozen=True, kw_only=True):
    """Documents, last changed first."""

    items: list[Document]
    next: int | None
    """Pass it as `before` for the following page; None: there is none."""


@post(
    "/", status_code=202, summary="Hand in a document", responses=failures(404, 413, 422, 503, 507)
)
async def take_document(
    data: JSONBody[NewDocument],
    agent: AgentName,
    tenant: Tenant,
    documents: Intake,
) -> Standing:
    """Put a document on the log unless its newest content is this one; the answer says which.

    A document that is too large is refused, also where only asked about, and that is on the log.
    """
    if data.content is None:
        return await documents.offer(
            tenant, agent, data.name, sha256=data.sha256, size=data.size, by=BY
        )
    if len(data.content) != data.size or sha256(data.content).hexdigest() != data.sha256:
        raise InvalidName("the content does not have the size and the SHA-256 that were told")
    media_type = guess_type(data.name)[0] or "application/octet-stream"
    return await documents.take(
        tenant, agent, data.name, data.content, media_type=media_type, by=BY
    )


@get("/", summary="List an agent's documents", responses=failures(404, 422, 503))
async def list_documents(
    agent: AgentName,
    tenant: Tenant,
    process: Parts,
    before: Before = NEWEST,
    limit: Limit = 50,
) -> DocumentPage:
    """Return documents, last changed first, without forgotten ones."""
    await process.agents.get(tenant, agent)
    async with reading.of_tenant(process.pool, tenant) as conn:
        items = await passages.documents(conn, tenant, agent, before=before, limit=limit)
    return DocumentPage(items=items, next=following([it.seq for it in items], limit))


@get("/{document:str}", summary="See how far a document is", responses=failures(404, 422, 503))
async def get_document(
    agent: AgentName, document: FromPath[str], tenant: Tenant, documents: Intake
) -> Standing:
    """Return how far a document is, from the log itself."""
    return await documents.standing(tenant, agent, document)


@get(
    "/{document:str}/stream",
    summary="Follow a document",
    responses=failures(404, 422, 503)
    | streaming(
        "Server-sent events whose data is how the document is: `standing` at first and whenever "
        "it moves, `settled` once nothing more will happen by itself, which ends the stream."
    ),
)
async def follow_document(
    agent: AgentName,
    document: FromPath[str],
    tenant: Tenant,
    documents: Intake,
    process: Parts,
    meter: Meters,
) -> ASGIApp:
    """Send how a document is, again whenever it moves, until it rests or the reader leaves."""
    check_room(meter)
    first = await documents.standing(tenant, agent, document)
    chunks = progress(documents, tenant, agent, first, process.stopping)
    return EventStream(chunks, meter.stream())


@post(
    "/{document:str}/forget",
    status_code=202,
    summary="Forget a document",
    responses=failures(404, 422, 503, 507),
)
async def forget_document(
    agent: AgentName,
    document: FromPath[str],
    data: JSONBody[Forget],
    tenant: Tenant,
    documents: Intake,
) -> Standing:
    """Let nothing of a document be found any more; handed in again, it is new."""
    return await documents.forget(tenant, agent, document, reason=data.reason, by=BY)


def routes(process: Process) -> Router:
    """Return the routes; a document, in base64, is the largest body that there is."""
    most = process.config.ingest.max_bytes
    intake = Documents(
        process.writer("api"), process.bodies, process.agents, DocumentLog(process.log), most
    )

    def documents() -> Documents:
        return intake

    return Router(
        "/agents/{agent:str}/documents",
        route_handlers=[
            *(take_document, list_documents, get_document, follow_document, forget_document),
        ],
        dependencies={"documents": Provide(documents, sync_to_thread=False)},
        request_max_body_size=most * 4 // 3 + 65_536,
    )
