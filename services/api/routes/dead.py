"""Dead letters: turns that failed and deliveries that were given up.

GET   /dead                what waits for a person, newest first, from the read model
POST  /dead/{ref}/retry    ask for one of them to be tried again
"""

from typing import Annotated

from litestar import get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Struct

from projections import dead_letters
from projections.dead_letters import NEWEST, DeadLetter
from services.api import reading
from services.api.faults import NotThere
from services.api.routes.messages import Author, Receipt
from services.api.routes.pages import Before, Limit, following
from services.api.routes.scope import ADAPTER, Parts, Tenant, failures
from services.runtime.dead_letters import retry


class DeadLetterPage(Struct, frozen=True, kw_only=True):
    """What was given up, newest first."""

    items: list[DeadLetter]
    next: int | None
    """Pass it as `before` for the following page; None: there is none."""


class Retrial(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who wants it to be tried again."""

    author: Author | None = None


@get("/dead", summary="List what was given up", responses=failures(422, 503))
async def list_dead_letters(
    tenant: Tenant,
    process: Parts,
    all: Annotated[  # noqa: A002 - as on the command line
        bool, QueryParameter(description="Also what was tried again since.")
    ] = False,
    before: Before = NEWEST,
    limit: Limit = 50,
) -> DeadLetterPage:
    """Return turns that failed and deliveries that were given up, newest first."""
    async with reading.of_tenant(process.pool, tenant) as conn:
        items = await dead_letters.listing(conn, tenant, retried=all, before=before, limit=limit)
    return DeadLetterPage(items=items, next=following([it.seq for it in items], limit))


@post(
    "/dead/{ref:str}/retry",
    status_code=202,
    summary="Have something tried again",
    responses=failures(404, 409, 413, 415, 422, 503, 507),
)
async def retry_dead_letter(
    tenant: Tenant, process: Parts, ref: FromPath[str], data: JSONBody[Retrial | None] = None
) -> Receipt:
    """Ask for it once, however often this is sent; what comes of it shows in its conversation."""
    async with reading.of_tenant(process.pool, tenant) as conn:
        letter = await dead_letters.one(conn, tenant, ref)
    if letter is None:
        raise NotThere(f"nothing called {ref!r} was given up; GET /dead lists what was")
    author = data.author if data else None
    by = f"person:{ADAPTER}:{author}" if author else "api"
    receipt = await retry(letter, tenant, process.writer("api"), by=by)
    return Receipt(event_id=receipt.event_id, seq=receipt.seq)


routes = [list_dead_letters, retry_dead_letter]
