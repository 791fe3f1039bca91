"""Building blocks shared by every schema."""

from typing import Annotated, Literal, NewType, TypeAlias, dataclass_transform

from msgspec import Meta, Struct, field

TenantId = NewType("TenantId", str)
AgentId = NewType("AgentId", str)
EventId = NewType("EventId", str)
RunId = NewType("RunId", str)
MemoryId = NewType("MemoryId", str)
DocumentId = NewType("DocumentId", str)
TaskId = NewType("TaskId", str)
GoalId = NewType("GoalId", str)

Tokens = Annotated[int, Meta(ge=0, description="Model tokens, as counted by the provider.")]
Usd = Annotated[float, Meta(ge=0, description="US dollars.")]
Milliseconds = Annotated[int, Meta(ge=0, description="Milliseconds.")]
Microseconds = Annotated[int, Meta(ge=0, description="UTC microseconds since 1970.")]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256, hexadecimal.")]
Attempt = Annotated[int, Meta(ge=1, description="1 for the first owner, then one more each.")]

Outcome = Literal["succeeded", "partial", "cancelled", "timed_out", "blocked", "failed"]
"""How a run ended. Partial counts as success: there is something to show, not all of it."""

RunKind = Literal["turn", "branch", "worker", "synthesis", "compaction"]


class BodyRef(Struct, frozen=True, kw_only=True):
    """A body kept by content hash in the object store, because an event is at most 64 KiB."""

    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0, description="Size of the body, in bytes.")]
    media_type: str = "text/plain; charset=utf-8"


Content: TypeAlias = str | BodyRef
"""Text, in the event while it is short and by reference when it is long."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Event(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Something that happened. Past tense, immutable, true for ever."""
