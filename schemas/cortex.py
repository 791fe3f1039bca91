"""What the cortex makes of an agent's memories and of what happened around it.

Subject:  evt.{tenant}.{agent}._._.cortex.{briefing|days|knowledge|associations}
          (an id for each, because each is locked, and its last event read, by itself)
Order:    briefing: briefing_written in any number; the last one counts
          days: day_summarised, once for each local day on which something happened, in order
          knowledge: synthesis_requested, then knowledge_synthesised or synthesis_failed
          associations: memories_associated in any number
Writer:   services.cortex
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.json import Decoder

from schemas.base import Content, Event, MemoryId, Microseconds, RunId, Sha256

Day = Annotated[
    str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", description="A local day, year-month-day.")
]
Counted = Annotated[int, Meta(ge=0, description="How many.")]
LayerName = Literal["identity", "knowledge", "week", "yesterday", "today", "channels"]


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of working memory: data, on one line, cut to its budget."""

    text: str
    memory_id: MemoryId | None = None
    """The memory that it quotes: when that is forgotten, so is the line."""
    conversation: str | None = None
    """`adapter/conversation` that it is about: not shown there, where it is known."""


class Layer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One layer of working memory."""

    name: LayerName
    lines: tuple[Line, ...]
    day: Day | None = None
    """Of the layers of a day: which one, so that it stays true when the day is over."""
    left_out: Counted = 0
    """Lines for which there was no room."""


class PersonKnown(Struct, frozen=True, kw_only=True):
    """What everybody may know of somebody."""

    person: str
    """Id on the platform: `portal:ana`."""
    line: Line


class BriefingWritten(Event, tag="briefing_written"):
    """The agent's working memory changed; its conversations show this from now on."""

    layers: tuple[Layer, ...]
    """From what changes seldom to what changes often, as it is shown."""
    people: tuple[PersonKnown, ...] = ()
    """Shown where they are present."""


class DaySummarised(Event, tag="day_summarised"):
    """A local day is over; this is what is kept of it."""

    day: Day
    zone: str
    """Time zone that the day was counted in, by its IANA name."""
    begin: Microseconds
    until: Microseconds
    """The day is `begin` <= time < `until`; the next one begins here, whatever the zone then."""
    messages: Counted = 0
    """Messages of people in open conversations."""
    conversations: Counted = 0
    """Open conversations with messages."""
    lines: tuple[Line, ...] = ()
    """What happened, the most important first."""
    left_out: Counted = 0


class SynthesisRequested(Event, tag="synthesis_requested"):
    """What the agent knows has changed, and a model is asked to put it in a few sentences."""

    run_id: RunId
    graph: Sha256
    """Fingerprint of what is to be put together; the same one is never asked for twice."""
    memories: tuple[MemoryId, ...]
    source: Content
    """The memories as the model is shown them."""


class KnowledgeSynthesised(Event, tag="knowledge_synthesised"):
    """What the agent knows, in a few sentences."""

    run_id: RunId
    graph: Sha256
    memories: tuple[MemoryId, ...]
    """What it was made of: when one of them is forgotten, it is shown no more."""
    text: Content


class SynthesisFailed(Event, tag="synthesis_failed"):
    """No synthesis came of it; the next change of what is known is the next occasion."""

    run_id: RunId
    graph: Sha256
    reason: str


class MemoriesAssociated(Event, tag="memories_associated"):
    """These memories were compared with what is remembered, and linked where they belong."""

    memory_ids: tuple[MemoryId, ...]
    links: Counted = 0
    """Links that were made, in the same batch as this."""


CortexEvent: TypeAlias = (
    BriefingWritten
    | DaySummarised
    | SynthesisRequested
    | KnowledgeSynthesised
    | SynthesisFailed
    | MemoriesAssociated
)
CORTEX_EVENTS: Decoder[CortexEvent] = Decoder(CortexEvent)
