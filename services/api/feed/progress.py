"""How a document gets on, as it does: told again whenever it moves, until it rests."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import structlog

from schemas.base import DocumentId
from services.api.feed.sse import HEARTBEAT, HEARTBEAT_S, RETRY
from services.errors import ServiceError
from services.runtime.cancelling import end
from services.runtime.closing import closing
from services.runtime.document import document_subject
from services.runtime.documents import Documents, Standing

log = structlog.get_logger()


async def progress(
    documents: Documents, tenant: str, agent: str, first: Standing, stopping: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    """Yield the text of the stream until the document rests or the process stops.

    Args:
        documents: Where it is.
        tenant: Whose.
        agent: Whose documents it is among.
        first: How it is.
        stopping: Set when the process stops.
    """
    moves = _moves(documents, tenant, agent, first)
    stop: asyncio.Future[bytes | None] = asyncio.ensure_future(_nothing_after(stopping))
    coming: asyncio.Future[bytes | None] | None = None
    try:
        yield RETRY
        while not stop.done():
            coming = coming or asyncio.ensure_future(anext(moves, None))
            await asyncio.wait(
                {coming, stop}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not coming.done():
                yield HEARTBEAT
                continue
            chunk, coming = coming.result(), None
            if chunk is None:
                return
            yield chunk
    except ServiceError as error:  # the reader comes back and goes on
        log.info("stream.ended", reason=str(error))
    finally:
        await end(stop, *((coming,) if coming else ()))
        await moves.aclose()


async def _nothing_after(stopping: asyncio.Event) -> bytes | None:
    await stopping.wait()
    return None


async def _moves(
    documents: Documents, tenant: str, agent: str, standing: Standing
) -> AsyncGenerator[bytes, None]:
    id_: DocumentId = standing.document_id
    yield _chunk(standing)
    if standing.is_settled:
        return
    subject = document_subject(tenant, agent, id_)
    async with closing(documents.writer.log.tail(subject, after=standing.seq)) as records:
        async for recorded in records:
            if recorded.seq <= standing.seq:
                continue  # told already: what was read then went further
            standing = await documents.standing(tenant, agent, id_)
            yield _chunk(standing)
            if standing.is_settled:
                return


def _chunk(standing: Standing) -> bytes:
    name = "settled" if standing.is_settled else "standing"
    body = msgspec.json.encode(standing)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (standing.seq, name.encode(), body)
