"""Conversations: what was said in each, and whether the agent is at work in it.

Grain:    `conversations`: one row per conversation; `messages`: one per message, reply, file and
          reaction; the same platform message received twice is one row
Source:   the channel streams
Read by:  the conversation pages and lists of the api and the command line
Rebuild:  any time
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Insert, Merge, Row, Statement
from schemas.base import BodyRef, Content, EventId, RunId
from schemas.channel import (
    Attachment,
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    ChannelEvent,
    CheckpointCut,
    CompactionFailed,
    CompactionRequested,
    ConversationForked,
    FileSent,
    InputRouted,
    MessageReceived,
    ReactionAdded,
    ReplySent,
    ResultDelivered,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.subjects import Subject

NAME = "conversations"  # key of our position in projection_positions: never rename
VERSION = 2
SQL = load("conversations.sql")
TABLES = ("conversations", "messages")

NO_TURN: Final = ""
NEWEST: Final = 2**63 - 1  # behind every sequence

CONVERSATIONS = Merge(
    "conversations",
    key=("tenant", "agent", "adapter", "conversation"),
    first=("started_at",),
    last=("last_at", "last_seq", "open_turn", "fork_of", "forked_at"),
)
MESSAGES = Insert(SQL["add_messages"], key=("tenant", "event_id"))
TARGETS = (CONVERSATIONS, MESSAGES)  # the messages count in a row that must be there

Role = Literal["person", "agent", "file", "reaction"]


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `conversations`; times in UTC microseconds."""

    agent: str
    adapter: str
    conversation: str
    started_at: int
    last_at: int
    last_seq: int
    open_turn: RunId | None
    received: int
    """Messages from people."""
    sent: int
    """Replies and files from the agent."""
    fork_of: str | None = None
    """Whose history it shares, `adapter/conversation`; None where the history is its own."""
    forked_at: EventId | None = None
    """The last event that is shared."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `messages`."""

    event_id: EventId
    seq: int
    at: int
    role: Role
    author_id: str | None
    """None for the agent."""
    author_name: str | None
    text: Content | None
    """What was said, the caption of a file, or the emoji of a reaction."""
    message_id: str | None
    reply_to: str | None
    name: str | None
    body: BodyRef | None
    attachments: tuple[Attachment, ...] | None
    turn_id: RunId | None


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the conversation's row, and the message's if there is one."""
    event = recorded.event
    if not isinstance(event, ChannelEvent):
        return
    at, seq = recorded.envelope.at, recorded.seq
    tenant, agent, adapter, conversation, *_ = place(recorded.subject)
    where: Row = {
        "tenant": tenant,
        "agent": agent or "",
        "adapter": adapter or "",
        "conversation": conversation or "",
    }
    turn = _open_turn(event)
    yield Statement(
        CONVERSATIONS,
        {
            **where,
            "started_at": at,
            "last_at": at,
            "last_seq": seq,
            "open_turn": turn,
            **_shared(event),
        },
    )
    said = _said(event)
    if said is not None:
        message = {**where, "event_id": recorded.envelope.id, "seq": seq, "at": at, **said}
        yield Statement(MESSAGES, message)


def _shared(event: ChannelEvent) -> Row:
    """Return whose history the conversation shares, where that is what the event says."""
    if not isinstance(event, ConversationForked):
        return {}
    return {"fork_of": f"{event.adapter}/{event.conversation}", "forked_at": event.at}


def _open_turn(event: ChannelEvent) -> str | None:
    """Return the turn that is open from now on, `NO_TURN`, or None for no change."""
    match event:
        case TurnStarted() | TurnResumed():
            return event.turn_id
        case TurnCompleted() | TurnFailed():
            return NO_TURN
        case _:
            return None


def _said(event: ChannelEvent) -> Row | None:
    """Return what the event adds to what people see, or None."""
    match event:
        case MessageReceived():
            return {
                "role": "person",
                "author_id": event.author.id,
                "author_name": event.author.name,
                "text": event.text,
                "message_id": event.message_id,
                "reply_to": event.reply_to,
                "attachments": event.attachments or None,
            }
        case ReplySent():
            return {
                "role": "agent",
                "text": event.text,
                "reply_to": event.reply_to,
                "turn_id": event.turn_id,
            }
        case ResultDelivered():
            return {"role": "agent", "text": event.text}
        case FileSent():
            return {
                "role": "file",
                "text": event.caption or None,
                "name": event.name,
                "body": event.body,
                "turn_id": event.turn_id,
            }
        case ReactionAdded():
            return {
                "role": "reaction",
                "text": event.emoji,
                "reply_to": event.message_id,
                "turn_id": event.turn_id,
            }
        case (
            TurnStarted()
            | TurnResumed()
            | TurnCompleted()
            | TurnFailed()
            | RetryRequested()
            | BranchRequested()
            | BranchConcluded()
            | WorkerRequested()
            | WorkerReported()
            | WorkerConcluded()
            | InputRouted()
            | CancelRequested()
            | CompactionRequested()
            | CheckpointCut()
            | CompactionFailed()
            | ConversationForked()
        ):
            return None


async def listing(
    conn: Conn,
    tenant: str,
    *,
    agent: str | None = None,
    adapter: str | None = None,
    before: int = NEWEST,
    limit: int = 50,
) -> list[Conversation]:
    """Return conversations, last active first, those whose `last_seq` is below `before`."""
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "adapter": adapter,
        "before": before,
        "limit": limit,
    }
    return await rows(conn, Conversation, SQL["listing"], parameters)


async def one(conn: Conn, conversation: Subject) -> Conversation | None:
    """Return the conversation that the subject belongs to, or None."""
    found = await rows(conn, Conversation, SQL["one"], _where(conversation))
    return found[0] if found else None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where something was said."""

    agent: str
    adapter: str
    conversation: str


async def find(conn: Conn, tenant: str, ref: str) -> Place | None:
    """Return where a person's message is, by its own id, its event's, or the beginning of that."""
    found = await rows(conn, Place, SQL["find"], {"tenant": tenant, "ref": ref})
    return found[0] if found else None


async def messages(
    conn: Conn, conversation: Subject, *, after: int = 0, limit: int = 50
) -> list[Message]:
    """Return what was said behind the sequence `after`, oldest first."""
    parameters = {**_where(conversation), "after": after, "limit": limit}
    return await rows(conn, Message, SQL["messages"], parameters)


async def latest(
    conn: Conn, conversation: Subject, *, before: int = NEWEST, limit: int = 50
) -> list[Message]:
    """Return the newest `limit` of what was said before the sequence `before`, oldest first."""
    parameters = {**_where(conversation), "before": before, "limit": limit}
    return (await rows(conn, Message, SQL["messages_before"], parameters))[::-1]


def _where(conversation: Subject) -> dict[str, object]:
    return {
        "tenant": conversation.tenant,
        "agent": conversation.agent or "",
        "adapter": conversation.adapter or "",
        "conversation": conversation.conversation or "",
    }
