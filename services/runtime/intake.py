"""What people and platforms hand in, checked and put on the log before it is acknowledged."""

from dataclasses import dataclass
from typing import Final

from schemas.base import EventId, RunId
from schemas.channel import Attachment, CancelRequested, MessageReceived, Person, RetryRequested
from schemas.subjects import InvalidToken, Subject
from services.errors import Rejected
from services.runtime import ids
from services.runtime.agents import Agents
from services.runtime.bodies import BodyStore, content
from services.runtime.text import clean
from services.runtime.writer import Writer

LONGEST_BYTES: Final = 4 * 1024 * 1024  # of one message; longer things are files


class InvalidMessage(Rejected):
    """The message cannot be taken as it is."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that something is in the log."""

    event_id: EventId
    seq: int


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes in what is said to agents."""

    writer: Writer
    bodies: BodyStore
    agents: Agents

    async def message(  # noqa: PLR0913 - what a message has
        self,
        to: Subject,
        *,
        author: Person,
        text: str,
        message_id: str | None = None,
        group: bool = False,
        private: bool = False,
        attachments: tuple[Attachment, ...] = (),
    ) -> Receipt:
        """Put a message on the log; the same `message_id` again is the same message.

        Args:
            to: The conversation.
            author: Who says it.
            text: What.
            message_id: The platform's id, or whatever makes a retry recognisable.
            group: Whether several people talk there.
            private: Whether that is a group that only its members can read.
            attachments: Files, already in the object store.

        Raises:
            UnknownAgent: there is no such agent.
            InvalidMessage: it is empty, too long, or the conversation's name is impossible.
            LogUnavailable, LogFull: it is not stored, or that is not known; send it again.
        """
        body = clean(text)
        if not body.strip() and not attachments:
            raise InvalidMessage("the message is empty")
        if len(body.encode()) > LONGEST_BYTES:
            raise InvalidMessage(
                f"the message has {len(body.encode()):,} bytes; the limit is {LONGEST_BYTES:,}: "
                "send it as a file"
            )
        subject = _on_wire(to)
        await self.agents.get(to.tenant, to.agent or "")
        message_id = clean(message_id or ids.new())
        author = Person(id=clean(author.id), name=clean(author.name))
        event = MessageReceived(
            message_id=message_id,
            author=author,
            text=await content(self.bodies, body),
            group=group,
            attachments=attachments,
            private=private,
        )
        id_ = ids.derived("message", subject, message_id)
        envelope = self.writer.seal(event, id=id_, actor=f"person:{author.id}")
        return Receipt(id_, await self.writer.log.append(subject, envelope))

    async def cancel(self, of: Subject, run_id: RunId, *, by: str, reason: str = "") -> Receipt:
        """Ask for a branch or a worker to stop."""
        event = CancelRequested(run_id=run_id, reason=clean(reason)[:1_000])
        envelope = self.writer.seal(event, actor=by)
        return Receipt(envelope.id, await self.writer.log.append(_on_wire(of), envelope))

    async def retry(self, of: Subject, turn_id: RunId, *, by: str) -> Receipt:
        """Ask for a failed turn to be tried again."""
        envelope = self.writer.seal(RetryRequested(turn_id=turn_id), actor=by)
        return Receipt(envelope.id, await self.writer.log.append(_on_wire(of), envelope))


def _on_wire(conversation: Subject) -> str:
    try:
        return str(conversation.channel)
    except InvalidToken as error:
        raise InvalidMessage(f"the conversation cannot be named like this: {error}") from error
