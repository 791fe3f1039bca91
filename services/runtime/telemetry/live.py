"""What no event tells of, measured where it happens; nothing at all where nobody asked for it.

A span that is measured here is a leaf below one that is read off the log. A process that dies
takes its unsent spans with it; since none of them is a parent, no trace falls apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Protocol

from services.runtime.event_log import Delivery
from services.runtime.telemetry import names
from services.runtime.telemetry.context import TraceContext, current
from services.runtime.telemetry.span import Said, Span, Value


class Recorder(Protocol):
    """Takes spans and measurements to wherever the environment says."""

    def processed(self, durable: str, delivery: Delivery, outcome: str, seconds: float) -> None:
        """Tell of a delivery that was handled just now."""
        ...

    def sending(self, *subjects: str) -> AbstractContextManager[None]:
        """Measure an append, of one event or of a batch."""
        ...

    def operated(self, operation: "Operation") -> None:
        """Tell of something that was done just now."""
        ...

    def words_of(self, tenant: str) -> bool:
        """Tell whether spans of a tenant say what was said."""
        ...

    def measure(self, spans: Sequence[Span]) -> None:
        """Count what spans tell into the metrics."""
        ...

    def observe(self, name: str, label: str, values: Mapping[str, float]) -> None:
        """Set the values of a gauge, by the value of their one label."""
        ...

    async def export(self, spans: Sequence[tuple[Span, Mapping[str, str]]]) -> bool:
        """Send spans, each with the words that may go along; tell whether they were taken."""
        ...

    async def close(self) -> None:
        """Send what is left."""
        ...


@dataclass(slots=True)
class Live:
    """Who is told in this process."""

    recorder: Recorder | None = None


LIVE: Final = Live()
_SEARCHES: Final = {
    names.SEARCH_MEMORY: (names.STORE, names.MEMORY_QUERY),
    names.RETRIEVAL: (names.DATA_SOURCE, names.RETRIEVAL_QUERY),
}


@dataclass(slots=True)
class Operation:
    """Something that takes time inside a step of a run."""

    name: str
    """As in `names`: `search_memory`, `embeddings`, …"""
    target: str
    tenant: str
    attributes: dict[str, Value]
    said: dict[str, Said]
    context: TraceContext | None
    seconds: float = 0.0
    error: str | None = None


@contextmanager
def operation(
    name: str,
    target: str,
    *,
    tenant: str = "",
    attributes: Mapping[str, Value] | None = None,
    said: Mapping[str, str] | None = None,
) -> Iterator[dict[str, Value]]:
    """Tell how long the block takes; more attributes can be put into what it is given.

    Args:
        name: The operation.
        target: What it is done to or with: a store, a model.
        tenant: Whose words it says.
        attributes: What is known before it begins.
        said: What was asked, by attribute; told where the tenant's words may be.
    """
    recorder = LIVE.recorder
    found = dict(attributes or {})
    if recorder is None:
        yield found
        return
    words = {key: Said(text=text) for key, text in (said or {}).items()}
    doing = Operation(name, target, tenant, found, words, current())
    started = perf_counter()
    try:
        yield found
    except Exception as error:
        doing.error = type(error).__name__
        raise
    finally:
        doing.seconds = perf_counter() - started
        recorder.operated(doing)


def searching(
    name: str, store: str, tenant: str, query: str
) -> AbstractContextManager[dict[str, Value]]:
    """Tell how long a search takes: `search_memory` or `retrieval`, of a store of a tenant."""
    where, what = _SEARCHES[name]
    return operation(name, store, tenant=tenant, attributes={where: store}, said={what: query})
