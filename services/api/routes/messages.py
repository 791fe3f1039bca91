"""Messages: what was said, and saying something.

POST  …/messages    put a message on the log, answered before anybody has read it
GET   …/messages    what was said, from the read model
"""

from typing import Annotated, Final

from litestar import get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta, Struct

from projections import conversations
from projections.conversations import Message
from schemas.base import EventId
from schemas.channel import Person
from services.api import reading
from services.api.feed.said import Said, of_row
from services.api.routes.pages import Limit
from services.api.routes.scope import ADAPTER, Parts, Place, failures
from services.runtime.bodies import BodyStore
from services.runtime.intake import Intake
from services.runtime.text import clean

MOST_TEXT: Final = 4 * 1024 * 1024  # characters in a page; a longer page ends early

Author = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f\[\]]{1,80}$",
        description="Who says it, as the agent and others will see it: 1 to 80 characters, no "
        "control characters and no brackets.",
    ),
]
Key = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description="Makes it safe to send again: the same id in a conversation is one message.",
    ),
]


class NewMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to say."""

    author: Author
    text: str
    id: Key | None = None
    group: Annotated[
        bool,
        Meta(
            description="True where several people talk. What is remembered there is the agent's, "
            "for whoever asks; what it knows of a person from elsewhere stays out of it."
        ),
    ] = False
    private: Annotated[
        bool,
        Meta(
            description="True in a group that only its members can read: what is remembered there "
            "stays there."
        ),
    ] = False


class Receipt(Struct, frozen=True, kw_only=True):
    """Proof that it is in the log."""

    event_id: EventId
    seq: int


class MessagePage(Struct, frozen=True, kw_only=True):
    """What was said, oldest first."""

    items: list[Said]
    next: int | None
    """Pass it as `after`, or as `before` if that was given, to go on; None: nothing is left."""


@post(
    "/messages",
    status_code=202,
    summary="Say something",
    responses=failures(404, 413, 415, 422, 503, 507),
)
async def send_message(data: JSONBody[NewMessage], place: Place, process: Parts) -> Receipt:
    """Put a message on the log; the answer to it comes on the stream."""
    author = clean(data.author)
    receipt = await Intake(process.writer("api"), process.bodies, process.agents).message(
        place,
        author=Person(id=f"{ADAPTER}:{author}", name=author),
        text=data.text,
        message_id=data.id,
        group=data.group,
        private=data.private,
    )
    return Receipt(event_id=receipt.event_id, seq=receipt.seq)


@get("/messages", summary="Read what was said", responses=failures(404, 422, 503))
async def list_messages(
    place: Place,
    process: Parts,
    after: Annotated[
        int, QueryParameter(ge=0, description="Only what is behind this sequence.")
    ] = 0,
    before: Annotated[
        int | None,
        QueryParameter(ge=0, description="The newest before this sequence, instead of `after`."),
    ] = None,
    limit: Limit = 50,
) -> MessagePage:
    """Return messages, replies, files and reactions in order, long texts in full."""
    async with reading.of_tenant(process.pool, place.tenant) as conn:
        if before is None:
            rows = await conversations.messages(conn, place, after=after, limit=limit)
        else:
            rows = await conversations.latest(conn, place, before=before, limit=limit)
            rows.reverse()
    items = await _said(rows, process.bodies)
    more = len(rows) == limit or len(items) < len(rows)
    if before is not None:
        items.reverse()
    edge = 0 if before is not None else -1
    return MessagePage(items=items, next=items[edge].seq if more and items else None)


async def _said(rows: list[Message], bodies: BodyStore) -> list[Said]:
    """Return what the rows say; the last ones are left out where it would be too much."""
    items: list[Said] = []
    size = 0
    for row in rows:
        item = await of_row(row, bodies)
        size += len(item.text)
        if items and size > MOST_TEXT:
            break
        items.append(item)
    return items


routes = [send_message, list_messages]
