"""What a persistence branch looks through: who said what when, each with a number to refer to.

Text of people and workers is data. A number stands only at the beginning of a message to the
model, never inside of what somebody said, and it is the service that knows who is behind it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schemas.base import Content, EventId
from schemas.channel import (
    MessageReceived,
    Person,
    ReplySent,
    ResultDelivered,
    WorkerConcluded,
    WorkerRequested,
)
from services.branch.scope import Scope
from services.runtime.bodies import BodyStore
from services.runtime.conversation import Conversation
from services.runtime.conversations import shown
from services.runtime.event_log import Recorded
from services.runtime.model import Message
from services.runtime.naming import called
from services.runtime.text import cut

MOST: Final = 200  # newest lines that are shown, as many as a conversation's history has
BEFORE: Final = 6  # lines of what was looked through already, so that "the second one" has a sense
LINE_BYTES: Final = 4_000  # of one line: what is worth keeping is not far down in a long paste


@dataclass(frozen=True, slots=True)
class Source:
    """Something that a memory can come from."""

    id: EventId
    person: Person | None
    """Who said it; None when it is a worker's result."""
    at: int
    """When, UTC microseconds."""


@dataclass(frozen=True, slots=True)
class PersistenceScope:
    """What every tool of a persistence branch is handed."""

    scope: Scope
    sources: tuple[Source, ...]
    """By number, from 1."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of what was said, before its text is fetched."""

    label: str
    text: Content
    source: Source | None = None
    """None for the agent's own words, from which nothing is to be learned."""


def lines(events: Iterable[Recorded]) -> list[Line]:
    """Return what was said, oldest first, the newest `MOST` of it; repetitions are left out."""
    found: list[Line] = []
    seen: set[str] = set()
    for recorded in events:
        match recorded.event:
            case MessageReceived(message_id=id_) if id_ in seen:
                pass
            case MessageReceived(message_id=id_, author=author, text=text):
                seen.add(id_)
                source = Source(recorded.envelope.id, author, recorded.envelope.at)
                found.append(Line(f"[{called(author.name)}] ({_when(recorded)}) ", text, source))
            case WorkerConcluded(outcome=outcome, result=text):
                source = Source(recorded.envelope.id, None, recorded.envelope.at)
                label = f"[result of a worker: {outcome}] ({_when(recorded)}) "
                found.append(Line(label, text, source))
            case WorkerRequested(task=text):
                found.append(Line("[you gave a worker the task] ", text))
            case ReplySent(text=text) | ResultDelivered(text=text):
                found.append(Line("[you said] ", text))
            case _:
                pass
    return found[-MOST:]


def sources(said: Sequence[Line]) -> tuple[Source, ...]:
    """Return what a memory can come from, in the order of the numbers."""
    return tuple(line.source for line in said if line.source is not None)


async def messages(
    fork: Conversation, said: Sequence[Line], bodies: BodyStore
) -> tuple[Message, ...]:
    """Return what the model is shown: a few lines from before, then each line with its number."""
    talk = [entry for entry in fork.entries if entry.occurrence is None]
    old = [entry for entry in talk if entry.seq <= fork.unsaved.since]
    old = [entry for entry in old if not entry.label.startswith("[result of branch")][-BEFORE:]
    told = [
        Message(role="user", content=f"[before] {entry.label}{await _data(entry.text, bodies)}")
        for entry in old
    ]
    number = 0
    for line in said:
        number += line.source is not None
        tag = f"[{number}] " if line.source is not None else ""
        text = f"{tag}{line.label}{await _data(line.text, bodies)}"
        told.append(Message(role="user", content=text))
    return tuple(told)


async def _data(text: Content, bodies: BodyStore) -> str:
    """Return a text none of whose lines can be taken for the beginning of another message."""
    return cut(await shown(text, bodies), LINE_BYTES).replace("\n", "\n    ")


def _when(recorded: Recorded) -> str:
    return f"{datetime.fromtimestamp(recorded.envelope.at / 1_000_000, UTC):%A %Y-%m-%d %H:%M}"
