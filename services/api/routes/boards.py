"""What tasks and goals have in common over HTTP: who asks, what is said, and how it came about."""

from typing import Annotated, Any, TypeAlias

from litestar import Router
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import SkipValidation
from msgspec import Meta, Struct

from projections import _history
from projections._history import Revision
from services.api import reading
from services.api.routes.messages import Author, Key
from services.api.routes.pages import following
from services.api.routes.scope import ADAPTER, AgentName, Parts, Tenant, failures
from services.runtime.process import Process
from services.runtime.tasks import desk as desks
from services.runtime.tasks.desk import Desk, Owner

AllTasks: TypeAlias = NamedDependency[SkipValidation[Desk]]
Reason: TypeAlias = Annotated[str, Meta(max_length=desks.TEXT, description="Why.")]
CHANGED = failures(404, 409, 413, 415, 422, 503, 507)


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every change says."""

    author: Author
    """Who wants it; recorded."""
    key: Annotated[Key | None, Meta(description="The same again is the same request.")] = None


class Remark(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A comment."""

    text: str


class RevisionPage(Struct, frozen=True, kw_only=True):
    """Revisions, newest first."""

    items: list[Revision]
    next: int | None


def author_of(body: Body) -> desks.Author:
    """Return who wants something, for the log."""
    return desks.Author(f"person:{ADAPTER}:{body.author}", "person", body.key or "")


async def owner_of(agent: AgentName, tenant: Tenant, process: Parts) -> Owner:
    """Return whose tasks the path names.

    Raises:
        UnknownAgent: names those that there are.
    """
    await process.agents.get(tenant, agent)
    return Owner(tenant, agent)


Whose: TypeAlias = NamedDependency[SkipValidation[Owner]]


async def history(
    process: Process, owner: Owner, table: str, ref: str, page: tuple[int, int]
) -> RevisionPage:
    """Return a page of revisions of a task or goal, newest first.

    Args:
        process: Where the read model is.
        owner: Whose it is.
        table: Of its revisions.
        ref: Its id.
        page: The sequence that the page before ended at, and most revisions in this one.
    """
    before, limit = page
    async with reading.of_tenant(process.pool, owner.tenant) as conn:
        items = await _history.revisions(conn, table, *owner, ref, before=before, limit=limit)
    return RevisionPage(items=items, next=following([it.seq for it in items], limit))


def router_of(what: str, desk: Desk, *handlers: HTTPRouteHandler) -> Router:
    """Return the routes of tasks or goals."""

    def give() -> Desk:
        return desk

    dependencies: dict[str, Any] = {
        "desk": Provide(give, sync_to_thread=False),
        "owner": Provide(owner_of),
    }
    return Router(
        f"/agents/{{agent:str}}/{what}", route_handlers=handlers, dependencies=dependencies
    )
