"""Agents and their conversations.

GET  /agents                          the agents there are, from the log
GET  /agents/{agent}/conversations    its conversations, last active first, from the read model
"""

from litestar import get
from msgspec import Struct

from projections import conversations
from projections.conversations import NEWEST, Conversation
from schemas.base import RunId
from services.api import reading
from services.api.routes.pages import Before, Limit, following
from services.api.routes.scope import ADAPTER, AgentName, Parts, Tenant, failures
from services.runtime.process import Process


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


async def listed(
    process: Process, tenant: str, agent: str, *, adapter: str, page: tuple[int, int]
) -> list[Conversation]:
    """Return an agent's conversations on an adapter, last active first.

    Args:
        process: Where the read model is.
        tenant: Whose it is.
        agent: Whose conversations.
        adapter: Where they are held.
        page: The sequence that the page before ended at, and most conversations in this one.

    Raises:
        UnknownAgent: names those that there are.
    """
    before, limit = page
    await process.agents.get(tenant, agent)
    async with reading.of_tenant(process.pool, tenant) as conn:
        return await conversations.listing(
            conn, tenant, agent=agent, adapter=adapter, before=before, limit=limit
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
    before: Before = NEWEST,
    limit: Limit = 50,
) -> ConversationPage:
    """Return conversations, last active first."""
    rows = await listed(process, tenant, agent, adapter=ADAPTER, page=(before, limit))
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
    return ConversationPage(items=items, next=following([it.last_seq for it in items], limit))


routes = [list_agents, list_conversations]
