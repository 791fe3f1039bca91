"""Ask for what was given up to be tried again, from wherever a person asks.

The request is an event: a failed turn's goes to its conversation, where the channel takes it up; a
parked delivery's goes to the dead-letter list, where the service that gave it up does.
"""

from typing import Literal, Protocol

from schemas.base import Event, RunId
from schemas.channel import RetryRequested
from schemas.dead import DeliveryRetried
from schemas.subjects import Subject, parse
from services.errors import Rejected
from services.runtime import ids
from services.runtime.intake import Receipt
from services.runtime.writer import Writer


class DeadLetter(Protocol):
    """What was given up, as in the projection of dead letters."""

    @property
    def ref(self) -> str: ...  # noqa: D102 - as in the projection
    @property
    def kind(self) -> Literal["turn", "delivery"]: ...  # noqa: D102
    @property
    def agent(self) -> str: ...  # noqa: D102
    @property
    def adapter(self) -> str: ...  # noqa: D102
    @property
    def conversation(self) -> str: ...  # noqa: D102
    @property
    def turn_id(self) -> RunId | None: ...  # noqa: D102
    @property
    def durable(self) -> str | None: ...  # noqa: D102
    @property
    def subject(self) -> str | None: ...  # noqa: D102
    @property
    def event_seq(self) -> int | None: ...  # noqa: D102
    @property
    def open(self) -> bool: ...  # noqa: D102
    @property
    def seq(self) -> int: ...  # noqa: D102


class AlreadyAsked(Rejected):
    """Somebody asked for it before, and it has not been given up again."""

    def __init__(self, ref: str) -> None:
        super().__init__(
            f"{ref} is being tried again already; if it fails, it comes back to the list"
        )


async def retry(letter: DeadLetter, tenant: str, writer: Writer, *, by: str) -> Receipt:
    """Ask for a dead letter of `tenant` to be tried again; however often, it is asked for once.

    Args:
        letter: As the projection has it.
        tenant: Whose it is.
        writer: Appends the request.
        by: Who asks, for the envelope.

    Raises:
        AlreadyAsked: it was asked for, and that has not failed yet.
        LogUnavailable, LogFull: it is not stored, or that is not known; ask again.
    """
    if not letter.open:
        raise AlreadyAsked(letter.ref)
    subject, event = _request(letter, tenant)
    # Two who ask for the same failure at once ask for one thing: a second try beside the first
    # would take the work from it.
    id_ = ids.derived("retry", letter.ref, str(letter.seq))
    envelope = writer.seal(event, id=id_, actor=by)
    return Receipt(id_, await writer.append_once(subject, envelope, since=letter.seq))


def _request(letter: DeadLetter, tenant: str) -> tuple[str, Event]:
    if letter.kind == "turn":
        conversation = Subject(tenant, letter.agent, letter.adapter, letter.conversation)
        return str(conversation.channel), RetryRequested(turn_id=RunId(letter.turn_id or ""))
    if letter.durable is None or letter.subject is None or letter.event_seq is None:
        raise Rejected(f"{letter.ref} lacks what it was; rebuild dead_letters")
    event = DeliveryRetried(durable=letter.durable, subject=letter.subject, seq=letter.event_seq)
    return str(parse(letter.subject).of("dead")), event
