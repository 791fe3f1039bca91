"""Forks of conversations: begun, listed, spoken to, compared.

POST  /agents/{agent}/forks              begin one; the same name again is the same fork
GET   /agents/{agent}/forks              those there are, last active first, from the read model
GET   /agents/{agent}/diff               two conversations side by side, from where they part
…     /agents/{agent}/forks/{conversation}/…    as for any conversation
"""

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta, Struct

from projections.conversations import NEWEST, Conversation
from schemas.channel import Person
from schemas.subjects import FORK, Subject
from services.api.faults import NotThere
from services.api.routes.agents import listed
from services.api.routes.messages import Author
from services.api.routes.pages import Before, Limit, following
from services.api.routes.scope import (
    ADAPTER,
    AgentName,
    ConversationName,
    Parts,
    Tenant,
    failures,
    place_of,
)
from services.runtime.comparing import Comparison, compare
from services.runtime.forking import Fork, Forked, Forking
from services.runtime.text import clean

Named = Annotated[
    str,
    Meta(min_length=1, max_length=300, description="A conversation: `C` held here, `ADAPTER/C`."),
]
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="Makes it safe to send again: the same name is the same fork.",
    ),
]


class NewFork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it parts, and what is different in it."""

    of: Named
    at: Annotated[
        int | str | None,
        Meta(
            description="The last event that is shared: a sequence, the id of an event or the "
            "beginning of it, `message 3`, `before message 3`. The newest where it is left out."
        ),
    ] = None
    name: Name | None = None
    model: Annotated[
        str | None, Meta(description="`provider/name`, for its turns, branches and workers.")
    ] = None
    prompt: Annotated[
        str | None, Meta(description="Stands for the agent's instructions in it.")
    ] = None
    message: Annotated[
        str | None,
        Meta(
            description="Is said in it. Left out: what was unanswered at that point is "
            "answered, or else what was said next is asked again."
        ),
    ] = None
    author: Author | None = None


class ForkPage(Struct, frozen=True, kw_only=True):
    """Forks, last active first."""

    items: list[Conversation]
    next: int | None
    """Pass it as `before` for the following page; None: there is none."""


async def fork_of(
    agent: AgentName, conversation: ConversationName, tenant: Tenant, process: Parts
) -> Subject:
    """Return the fork that the path names.

    Raises:
        UnknownAgent: names those that there are.
        NotThere: nobody began it.
    """
    place = (await place_of(agent, conversation, tenant, process))._replace(adapter=FORK)
    if await process.log.last(str(place), fresh=True) is None:
        raise NotThere(f"agent {agent!r} has no fork {conversation!r}")
    return place


def named(tenant: str, agent: str, text: str) -> Subject:
    """Return the conversation that a text names."""
    adapter, slash, name = text.partition("/")
    return Subject(tenant, agent, adapter, name) if slash else Subject(tenant, agent, ADAPTER, text)


@post(
    "/agents/{agent:str}/forks",
    status_code=201,
    summary="Fork a conversation",
    responses=failures(404, 409, 413, 415, 422, 503, 507),
)
async def begin_fork(
    agent: AgentName, tenant: Tenant, process: Parts, data: JSONBody[NewFork]
) -> Forked:
    """Begin a fork; the answer comes on its stream, and is delivered nowhere else."""
    author = clean(data.author) if data.author else None
    wanted = Fork(
        at=None if data.at is None else str(data.at),
        name=data.name,
        model=data.model,
        prompt=data.prompt,
        message=data.message,
        author=Person(id=f"{ADAPTER}:{author}", name=author) if author else None,
    )
    forking = Forking(process.writer("api"), process.bodies, process.agents)
    return await forking.begin(named(tenant, agent, data.of), wanted)


@get(
    "/agents/{agent:str}/forks", summary="List an agent's forks", responses=failures(404, 422, 503)
)
async def list_forks(
    agent: AgentName,
    tenant: Tenant,
    process: Parts,
    before: Before = NEWEST,
    limit: Limit = 50,
) -> ForkPage:
    """Return forks, last active first."""
    rows = await listed(process, tenant, agent, adapter=FORK, page=(before, limit))
    return ForkPage(items=rows, next=following([it.last_seq for it in rows], limit))


@get(
    "/agents/{agent:str}/diff",
    summary="Compare two conversations that share a beginning",
    responses=failures(404, 409, 422, 503),
)
async def diff(
    agent: AgentName,
    tenant: Tenant,
    process: Parts,
    a: Annotated[str, QueryParameter(description="`C` held here, or `ADAPTER/C`.")],
    b: Annotated[str, QueryParameter(description="Likewise; often a fork, `fork/C`.")],
    limit: Limit = 50,
) -> Comparison:
    """Return what was asked and what came of it on both sides, from where they part."""
    await process.agents.get(tenant, agent)
    one, other = named(tenant, agent, a), named(tenant, agent, b)
    return await compare(process.log, process.bodies, one, other, most=limit)


routes = [begin_fork, list_forks, diff]
