"""Facts about what an agent remembers.

Subject:  evt.{tenant}.{agent}._._.memory._
Order:    memory_saved, then at most one memory_forgotten for each memory
Writer:   services.branch, and people through the api and the command line
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta
from msgspec.json import Decoder

from schemas.base import Content, Event, EventId, MemoryId, RunId

MemoryKind = Literal[
    "fact", "preference", "decision", "identity", "event", "observation", "goal", "todo"
]
Importance = Annotated[float, Meta(ge=0, le=1, description="From 0, noise, to 1, defining.")]
Scope = Literal["person", "channel", "agent", "tenant"]


class MemorySaved(Event, tag="memory_saved"):
    """Something was worth keeping."""

    memory_id: MemoryId
    kind: MemoryKind
    text: Content
    importance: Importance
    scope: Scope = "agent"
    """Who may see it; resolved by the service from the conversation, never by the model."""
    person: str | None = None
    """The person whom it came from."""
    conversation: str | None = None
    """Where it came up, `adapter/conversation`."""
    source: EventId | None = None
    """The event it was learned from."""
    run_id: RunId | None = None
    """The run that saved it."""


class MemoryForgotten(Event, tag="memory_forgotten"):
    """A memory is no longer recalled."""

    memory_id: MemoryId
    reason: str = ""


MemoryEvent: TypeAlias = MemorySaved | MemoryForgotten
MEMORY_EVENTS: Decoder[MemoryEvent] = Decoder(MemoryEvent)
