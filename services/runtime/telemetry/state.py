"""What a reader of the log has to remember to tell spans: runs that go on, events that wait."""

from functools import lru_cache
from typing import Final, TypeVar

from msgspec import Struct, field

from schemas.base import Content, EventId, RunId, RunKind
from schemas.subjects import Subject, parse
from services.runtime.telemetry import names
from services.runtime.telemetry.context import UNTRACED, TraceContext, span_of
from services.runtime.telemetry.span import Link, Moment, Value

MOST: Final = 1_000  # entries of a kind; what goes on for longer than so many others is let go

V = TypeVar("V")


class Call(Struct, kw_only=True):
    """A model call that has no answer yet."""

    id: EventId
    """Of the event that announced it."""
    step: int
    model: str
    at: int


class Begun(Struct, kw_only=True):
    """A tool call that has no result yet."""

    at: int
    arguments: str = ""


class Open(Struct, kw_only=True):
    """A run, or the part of one from an input to the next, that has not ended."""

    run_id: RunId
    kind: RunKind
    subject: str
    """The stream that it began on."""
    trigger: str
    context: TraceContext
    """The trace, and the span that the run is a child of."""
    since: int
    attempts: int = 1
    model: str = ""
    turn: RunId | None = None
    parent: RunId | None = None
    waiting: bool = False
    scheduled: bool = False
    call: Call | None = None
    tools: dict[str, Begun] = {}
    arguments: dict[str, str] = {}
    """What tools were asked for with, by call; only where what is said is wanted."""
    moments: list[Moment] = []
    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cost_usd: float | None = None
    asked_at: int = 0
    """When the oldest of what it answers came; turns alone."""
    replied_at: int = 0
    task: Content = ""
    said: Content = ""

    @property
    def span_id(self) -> str:
        """Return the id of the run's span, which its owner derives in the same way."""
        return span_of(self.context.span_id, self.run_id)

    def begin(self, context: TraceContext, at: int) -> None:
        """Begin, or go on with new input: a span of its own, where the input's trace is."""
        self.context, self.since, self.waiting = context, at, False
        self.calls = self.input = self.output = self.cached = 0
        self.cost_usd, self.attempts, self.moments = None, 1, []


class Waiting(Struct, frozen=True, kw_only=True):
    """An event that calls for a turn, or for a run to go on."""

    trigger: str
    at: int
    link: Link | None
    text: Content = ""


class State(Struct, kw_only=True):
    """The whole of it, as it is kept between two processes."""

    seq: int = 0
    """How far the log was read."""
    runs: dict[str, Open] = field(default_factory=dict)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    """By the ids of their spans."""

    def open(self, run: Open) -> Open:
        """Remember a run."""
        _bounded(self.runs)[run.run_id] = run
        return run

    def wait(self, event_id: EventId, waiting: Waiting) -> None:
        """Remember an event."""
        _bounded(self.waiting)[span_of(event_id)] = waiting


def _bounded(entries: dict[str, V]) -> dict[str, V]:
    while len(entries) >= MOST:
        del entries[next(iter(entries))]
    return entries


@lru_cache(maxsize=4_096)
def place_of(subject: str) -> Subject:
    """Return the parts of a subject; those of a conversation are asked for again and again."""
    return parse(subject)


def common(subject: str, agent_name: str | None = None) -> dict[str, Value]:
    """Return the attributes that every span has: whose it is."""
    place = place_of(subject)
    attributes: dict[str, Value] = {names.TENANT: place.tenant}
    if place.agent is not None:
        attributes[names.AGENT_ID] = place.agent
        attributes[names.AGENT_NAME] = agent_name or place.agent
    if place.conversation is not None:
        attributes[names.CONVERSATION] = place.conversation
    if place.adapter is not None:
        attributes[names.ADAPTER] = place.adapter
    if place.adapter == "cron" and place.conversation is not None:
        attributes[names.JOB] = place.conversation
    return attributes


def link_to(context: TraceContext) -> Link | None:
    """Return a link to a span; None where there is none."""
    return Link(context.trace_id, context.span_id) if context is not UNTRACED else None
