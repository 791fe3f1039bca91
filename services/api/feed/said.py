"""What was said in a conversation, in one shape, whether from the read model or from the log."""

from typing import Literal

from msgspec import Struct

from projections.conversations import Message
from schemas.base import BodyRef, Content, EventId, RunId
from schemas.channel import (
    Attachment,
    ChannelEvent,
    FileSent,
    MessageReceived,
    Person,
    ReactionAdded,
    ReplySent,
    ResultDelivered,
)
from services.errors import Permanent
from services.runtime.bodies import BodyStore, text_of
from services.runtime.event_log import Recorded


class File(Struct, frozen=True, kw_only=True):
    """A file by its name; the address of one that the agent sent is `…/files/{seq}`."""

    name: str
    bytes: int
    media_type: str


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message, reply, file or reaction."""

    seq: int
    at: int
    """UTC microseconds since 1970."""
    event_id: EventId
    role: Literal["person", "agent", "file", "reaction"]
    """Who or what: the last three are the agent's."""
    text: str = ""
    """What was said, the caption of a file, or the emoji of a reaction."""
    author: Person | None = None
    message_id: str | None = None
    reply_to: str | None = None
    """The `message_id` that this is about."""
    turn_id: RunId | None = None
    file: File | None = None
    attachments: tuple[File, ...] = ()


async def of_row(row: Message, bodies: BodyStore) -> Said:
    """Return what a row of the read model says.

    Raises:
        LogUnavailable: a long text could not be read now.
    """
    author = None
    if row.author_id is not None:
        author = Person(id=row.author_id, name=row.author_name or "")
    return Said(
        seq=row.seq,
        at=row.at,
        event_id=row.event_id,
        role=row.role,
        text=await _readable(row.text or "", bodies),
        author=author,
        message_id=row.message_id,
        reply_to=row.reply_to,
        turn_id=row.turn_id,
        file=_file(row.name, row.body) if row.name and row.body else None,
        attachments=_attachments(row.attachments or ()),
    )


async def of_event(recorded: Recorded, event: ChannelEvent, bodies: BodyStore) -> Said | None:
    """Return what an event says, None for one in which nobody says anything.

    Raises:
        LogUnavailable: a long text could not be read now.
    """
    seq, at, event_id = recorded.seq, recorded.envelope.at, recorded.envelope.id
    match event:
        case MessageReceived():
            return Said(
                seq=seq,
                at=at,
                event_id=event_id,
                role="person",
                text=await _readable(event.text, bodies),
                author=event.author,
                message_id=event.message_id,
                reply_to=event.reply_to,
                attachments=_attachments(event.attachments),
            )
        case ReplySent():
            return Said(
                seq=seq,
                at=at,
                event_id=event_id,
                role="agent",
                text=await _readable(event.text, bodies),
                reply_to=event.reply_to,
                turn_id=event.turn_id,
            )
        case ResultDelivered():
            text = await _readable(event.text, bodies)
            return Said(seq=seq, at=at, event_id=event_id, role="agent", text=text)
        case FileSent():
            return Said(
                seq=seq,
                at=at,
                event_id=event_id,
                role="file",
                text=event.caption,
                turn_id=event.turn_id,
                file=_file(event.name, event.body),
            )
        case ReactionAdded():
            return Said(
                seq=seq,
                at=at,
                event_id=event_id,
                role="reaction",
                text=event.emoji,
                reply_to=event.message_id,
                turn_id=event.turn_id,
            )
        case _:
            return None


def _file(name: str, body: BodyRef) -> File:
    return File(name=name, bytes=body.bytes, media_type=body.media_type)


def _attachments(attachments: tuple[Attachment, ...]) -> tuple[File, ...]:
    return tuple(_file(each.name, each.body) for each in attachments)


async def _readable(content: Content, bodies: BodyStore) -> str:
    """Return the whole text; one that is lost says so, and hides none of the others."""
    try:
        return await text_of(bodies, content)
    except Permanent as error:
        return f"(this text cannot be read: {error})"
