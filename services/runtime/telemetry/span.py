"""What a span is here before the SDK sees it: plain data, made by folds."""

from typing import Literal, TypeAlias

from msgspec import Struct

from schemas.base import Content
from schemas.run import ToolCall

Kind = Literal["internal", "client", "producer", "consumer"]
Value: TypeAlias = str | int | float | bool | tuple[str, ...]


class Link(Struct, frozen=True):
    """Another span that has to do with one."""

    trace_id: str
    span_id: str


class Moment(Struct, frozen=True, kw_only=True):
    """Something that happened during a span."""

    name: str
    at: int
    """UTC microseconds."""
    attributes: dict[str, Value]


class Said(Struct, frozen=True, kw_only=True):
    """Words, which leave the installation only where somebody asked for that."""

    text: Content
    role: Literal["user", "assistant"] | None = None
    """None for plain text: arguments, results and queries."""
    calls: tuple[ToolCall, ...] = ()


class Span(Struct, frozen=True, kw_only=True):
    """One operation from its beginning to its end."""

    operation: str
    """`chat`, `execute_tool`, … as in `names`."""
    name: str
    kind: Kind
    trace_id: str
    """Empty where it belongs to no trace: it is measured and not exported."""
    span_id: str
    parent_id: str | None
    start: int
    """UTC microseconds, as `end`."""
    end: int
    attributes: dict[str, Value]
    sampled: bool = True
    error: str | None = None
    """What kind of failure it ended in; None where it ended well."""
    detail: str = ""
    """What the failure said of itself."""
    links: tuple[Link, ...] = ()
    moments: tuple[Moment, ...] = ()
    said: dict[str, Said] = {}
    """What was said in it, by attribute."""
    tenant: str = ""
    latency: int | None = None
    """Turns alone: microseconds from the oldest message to the first reply."""

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return max(self.end - self.start, 0) / 1_000_000
