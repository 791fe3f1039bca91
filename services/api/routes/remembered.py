"""What routes about memory have in common: whose it is, of whom, and who hears what is told."""

from typing import Annotated, Final, TypeAlias

from litestar.di import NamedDependency
from litestar.params import SkipValidation
from msgspec import Meta

from schemas.subjects import InvalidToken
from services.api.faults import InvalidName, NotThere
from services.api.routes.forks import named
from services.memory import audience
from services.memory.audience import Audience
from services.memory.desk import Desk
from services.runtime.conversation import Conversation
from services.runtime.process import Process

Memories: TypeAlias = NamedDependency[SkipValidation[Desk]]
PERSON: Final = "By any of their ids: `portal:ana`, or `ana`; linked ids are included."
Person: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, description=PERSON)]


async def heard(desk: Desk, process: Process, name: str) -> tuple[Conversation, Audience]:
    """Return a conversation, and who hears what is said in it.

    Raises:
        NotThere: nothing was ever said in it.
        InvalidName: it cannot be the name of one.
    """
    place = desk.there.place
    where = named(place.tenant, place.agent, name)
    try:
        state = await process.conversations.newest(where)
    except InvalidToken as error:
        raise InvalidName(f"no conversation can be named like this: {error}") from error
    if not state.seq:
        raise NotThere(f"there is no conversation {where.adapter}/{where.conversation}")
    identities = await desk.there.people.of(place.tenant)
    return state, audience.of(state, where, identities)
