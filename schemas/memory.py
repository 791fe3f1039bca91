"""Facts about what an agent remembers.

Subject:  evt.{tenant}.{agent}._._.memory._
Order:    memory_saved, then memory_touched and memory_linked in any number; at most one
          memory_saved that replaces it; at most one memory_forgotten
Writer:   services.branch, services.cortex (links), and people, over HTTP and at the command line;
          what is saved passes services.memory
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.json import Decoder

from schemas.base import Content, Event, EventId, MemoryId, Microseconds, RunId

MemoryKind = Literal[
    "fact", "preference", "decision", "identity", "event", "observation", "goal", "todo"
]
Importance = Annotated[float, Meta(ge=0, le=1, description="From 0, noise, to 1, defining.")]
Scope = Literal["person", "channel", "agent", "tenant"]
Relation = Literal["related_to", "updates", "contradicts", "caused_by", "result_of", "part_of"]


class Replaced(Struct, frozen=True, kw_only=True):
    """A memory that is no longer valid, because a newer one says it better."""

    memory_id: MemoryId
    why: Literal["duplicate", "contradiction", "correction"]
    """Duplicate: said again in other words. Correction: a person said that it was wrong."""


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
    replaces: tuple[Replaced, ...] = ()
    """Memories that are valid until this one; their history stays."""
    valid_from: Microseconds | None = None
    """When it began to be true; None where nobody said, which is when it was saved."""


class MemoryTouched(Event, tag="memory_touched"):
    """Something that is remembered already was said again."""

    memory_id: MemoryId
    person: str | None = None
    conversation: str | None = None
    source: EventId | None = None
    run_id: RunId | None = None


class MemoryLinked(Event, tag="memory_linked"):
    """Two memories belong together; the same link again changes its weight."""

    memory_id: MemoryId
    to: MemoryId
    relation: Relation = "related_to"
    weight: Annotated[float, Meta(ge=0, le=1, description="From 0, loose, to 1, firm.")] = 0.5


class MemoryForgotten(Event, tag="memory_forgotten"):
    """A memory is no longer recalled."""

    memory_id: MemoryId
    reason: str = ""


MemoryEvent: TypeAlias = MemorySaved | MemoryTouched | MemoryLinked | MemoryForgotten
MEMORY_EVENTS: Decoder[MemoryEvent] = Decoder(MemoryEvent)
