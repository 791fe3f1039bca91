"""What routes are about: who asks, and which conversation; checked before they run."""

from typing import Annotated, Final, TypeAlias

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, SkipValidation

from schemas.base import TenantId
from schemas.subjects import InvalidToken, Subject
from services.api.door.gate import Caller, Unauthorized
from services.api.faults import ErrorBody, InvalidName
from services.runtime.process import Process

ADAPTER: Final = "portal"  # conversations that are held here; a token of subjects: never change

AnyRequest: TypeAlias = Request[None, None, State]
Parts: TypeAlias = NamedDependency[SkipValidation[Process]]
Tenant: TypeAlias = NamedDependency[SkipValidation[TenantId]]
Place: TypeAlias = NamedDependency[SkipValidation[Subject]]
"""A conversation of an agent that there is, its channel stream."""

AgentName: TypeAlias = Annotated[str, PathParameter(description="Id of the agent.")]
ConversationName: TypeAlias = Annotated[
    str,
    PathParameter(
        description="Name of the conversation, any that is not too long: the first message begins "
        "it. At most 64 characters, fewer with capitals and signs."
    ),
]

ERRORS: Final = {
    400: "The request is malformed.",
    401: "A credential is needed.",
    403: "Not from this site, not under this name.",
    404: "There is no such thing.",
    409: "Not now.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "Something in the request is wrong; the message says what.",
    503: "The log or the read models are away; try again after `Retry-After` seconds.",
    507: "The log's storage is full; nothing was stored.",
}


OPEN: Final[list[dict[str, list[str]]]] = [{}]
"""The documented security of a route that asks for no credential."""


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """Return how a route may fail, for its documentation."""
    return {
        status: ResponseSpec(ErrorBody, description=ERRORS[status], generate_examples=False)
        for status in sorted(statuses)
    }


def failures(*statuses: int) -> dict[int, ResponseSpec]:
    """Return how a route behind the gate may fail; what the gate refuses is added."""
    return documented(400, 401, 403, *statuses)


async def tenant_of(request: AnyRequest) -> TenantId:
    """Return the tenant that the caller belongs to.

    Raises:
        Unauthorized: the gate let somebody unknown through; no route that needs this is open.
    """
    caller: Caller | None = request.scope["state"].get("caller")
    if caller is None:
        raise Unauthorized
    return caller.tenant


async def place_of(
    agent: AgentName, conversation: ConversationName, tenant: Tenant, process: Parts
) -> Subject:
    """Return the conversation that the path names.

    Raises:
        UnknownAgent: names those that there are.
        InvalidName: it cannot be the name of a conversation.
    """
    if not conversation.isprintable():
        raise InvalidName("the name of a conversation has only visible characters")
    await process.agents.get(tenant, agent)
    place = Subject(tenant, agent, ADAPTER, conversation)
    try:
        str(place)
    except InvalidToken as error:
        raise InvalidName(f"the conversation cannot be named like this: {error}") from error
    return place


def dependencies(process: Process) -> dict[str, Provide]:
    """Return what routes are given by name."""

    def parts() -> Process:
        return process

    return {
        "process": Provide(parts, sync_to_thread=False),
        "tenant": Provide(tenant_of),
        "place": Provide(place_of),
    }
