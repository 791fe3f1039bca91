"""Agents and their conversations.

GET  /agents                          the agents there are, from the log
GET  /agents/{agent}/conversations    its conversations, last active first, from the read model
"""

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter
from msgspec import Struct

from projections import conversations
from projections.conversations import NEWEST
from schemas.base import RunId
from services.api import reading
from services.api.routes.scope import ADAPTER, AgentName, Parts, Tenant, failures

Limit = Annotated[int, QueryParameter(ge=1, le=200, description="Most items in the answer.")]


class AgentItem(Struct, frozen=True, kw_only=True):
    """One agent."""

    id: str
    name: str
    model: str | None
    """None: the installation's."""


class AgentPage(Struct, frozen=True, kw_only=True):
    """All agents."""

    items: list[AgentItem]
    next: None = None


class ConversationItem(Struct, frozen=True, kw_only=True):
    """One conversation."""

    conversation: str
    started_at: int
    """UTC microseconds since 1970, like every time here."""
    last_at: int
    last_seq: int
    open_turn: RunId | None
    received: int
    """Messages from people."""
    sent: int
    """Replies and files from the agent."""


class ConversationPage(Struct, frozen=True, kw_only=True):
    """Conversations, last active first."""

    items: list[ConversationItem]
    next: int | None
    """Pass it as `before` for the following page; None: there is none."""


@get("/agents", summary="List the agents", responses=failures(503))
async def list_agents(tenant: Tenant, process: Parts) -> AgentPage:
    """Return the agents of the caller's tenant, by id."""
    found = await process.agents.of(tenant)
    return AgentPage(
        items=[AgentItem(id=each.id, name=each.name, model=each.model) for each in found]
    )


@get(
    "/agents/{agent:str}/conversations",
    summary="List an agent's conversations",
    responses=failures(404, 422, 503),
)
async def list_conversations(
    agent: AgentName,
    tenant: Tenant,
    process: Parts,
    before: Annotated[
        int, QueryParameter(ge=0, description="Only those last active before this sequence.")
    ] = NEWEST,
    limit: Limit = 50,
) -> ConversationPage:
    """Return conversations, last active first."""
    await process.agents.get(tenant, agent)
    async with reading.of_tenant(process.pool, tenant) as conn:
        rows = await conversations.listing(
            conn, tenant, agent=agent, adapter=ADAPTER, before=before, limit=limit
        )
    items = [
        ConversationItem(
            conversation=row.conversation,
            started_at=row.started_at,
            last_at=row.last_at,
            last_seq=row.last_seq,
            open_turn=row.open_turn,
            received=row.received,
            sent=row.sent,
        )
        for row in rows
    ]
    return ConversationPage(items=items, next=items[-1].last_seq if len(items) == limit else None)


routes = [list_agents, list_conversations]
