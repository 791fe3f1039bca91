"""The trace context: carried by every event, held for as long as something is handled.

The ids of traces and spans are derived from the ids of what they stand for: a trace's from the
event that began it. So whoever takes a run over knows them, and so does whoever reads the log.
Nothing here imports the SDK, and without a sampler no event begins a trace.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from schemas.envelope import Envelope

SENT: Final = frozenset(
    {
        *("message_received", "reply_sent", "reaction_added", "file_sent", "result_delivered"),
        *("branch_requested", "branch_concluded", "retry_requested", "cancel_requested"),
        *("worker_requested", "worker_reported", "worker_concluded", "input_routed"),
        *("compaction_requested", "synthesis_requested", "occurrence_fired", "occurrence_ended"),
    }
)
"""Events that somebody acts upon; each is a span of its own, the parent of what it led to."""
SAMPLED: Final = "01"
_HEADER: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(NamedTuple):
    """Which span of which trace something happens in."""

    trace_id: str
    """32 hexadecimal digits; empty where nothing is traced."""
    span_id: str
    """16 hexadecimal digits."""
    flags: str = SAMPLED

    @property
    def sampled(self) -> bool:
        """Tell whether the trace is exported."""
        return bool(self.trace_id) and int(self.flags, 16) & 1 == 1

    @property
    def header(self) -> str | None:
        """Return it as W3C trace context has it."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}" if self.trace_id else None


UNTRACED: Final = TraceContext("", "", "00")
_CURRENT: Final[ContextVar[TraceContext | None]] = ContextVar("trace", default=None)


@dataclass(slots=True)
class Roots:
    """Whether events begin traces in this process, and which of them are exported."""

    sampler: Callable[[str], bool] | None = None
    """Takes the id of a new trace; None where nobody asked for traces."""


ROOTS: Final = Roots()


@lru_cache(maxsize=1_024)
def parsed(header: str | None) -> TraceContext | None:
    """Return the context that a header says; None where it says none."""
    found = _HEADER.fullmatch(header) if header else None
    if found is None or found[1] == "ff" or not int(found[2], 16) or not int(found[3], 16):
        return None
    if found[1] == "00" and found[5]:
        return None
    return TraceContext(found[2], found[3], found[4])


def span_of(*parts: str) -> str:
    """Return the id of the span that these parts always have."""
    return blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


def trace_of(event_id: str) -> str:
    """Return the id of the trace that an event begins; even in all its bits, as samplers ask."""
    return blake2b(event_id.encode(), digest_size=16).hexdigest()


def current() -> TraceContext | None:
    """Return the context of what is being handled; None where nothing is."""
    return _CURRENT.get()


def header_of_new(event_id: str) -> str | None:
    """Return what a new event carries: where it came about, or the trace that it begins."""
    here = _CURRENT.get()
    return begun_by(event_id) if here is None else here.header


def begun_by(event_id: str) -> str | None:
    """Return the context in the trace that an event begins; None where nobody asked for traces.

    It follows from the event's id, so whoever has nothing but that can go on there.
    """
    if ROOTS.sampler is None:
        return None
    trace_id = trace_of(event_id)
    flags = SAMPLED if ROOTS.sampler(trace_id) else "00"
    return TraceContext(trace_id, span_of(event_id), flags).header


def caused_by(envelope: Envelope) -> TraceContext:
    """Return the context of whatever an event leads to."""
    carried = parsed(envelope.traceparent)
    if carried is None:
        return UNTRACED
    if envelope.type in SENT:
        return carried._replace(span_id=span_of(envelope.id))
    return carried


@contextmanager
def handling(envelope: Envelope) -> Iterator[None]:
    """Let what happens in the block belong to the trace of the event that is handled in it."""
    if envelope.traceparent is None and ROOTS.sampler is None:
        yield
        return
    token = _CURRENT.set(caused_by(envelope))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def go_on(traceparent: str | None, event_id: str | None = None) -> None:
    """Let the rest of what is handled here belong to the trace that an earlier event carries.

    Args:
        traceparent: What the event carries.
        event_id: Its id where what follows is led to by it; None where it came about there itself.
    """
    if traceparent is None and _CURRENT.get() is None:
        return
    carried = parsed(traceparent) or UNTRACED
    if carried is not UNTRACED and event_id is not None:
        carried = carried._replace(span_id=span_of(event_id))
    _CURRENT.set(carried)


@contextmanager
def within(*parts: str) -> Iterator[None]:
    """Let what happens in the block belong to a span below the current one.

    Args:
        parts: Name the span within the current one, the same at every try.
    """
    here = _CURRENT.get()
    if here is None or not here.trace_id:
        yield
        return
    token = _CURRENT.set(here._replace(span_id=span_of(here.span_id, *parts)))
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def joining(header: str | None) -> Iterator[None]:
    """Let what is taken in within the block go on with its sender's trace, where it has one."""
    context = parsed(header) if ROOTS.sampler is not None else None
    if context is None:
        yield
        return
    token = _CURRENT.set(context)
    try:
        yield
    finally:
        _CURRENT.reset(token)
