"""What an event says, in one line."""

from typing import Final

import msgspec

from schemas.base import BodyRef
from schemas.catalogue import AnyEvent
from schemas.channel import ConversationForked, MessageReceived
from schemas.cortex import BriefingWritten, DaySummarised, MemoriesAssociated
from schemas.ingest import ChunksRemoved, ChunksStored, DocumentIngested, DocumentSplit
from schemas.run import ModelReturned, Usage
from services.cli.output import one_line, plural

TELLING: Final = (
    *("kind", "name", "tool", "step", "model", "status", "outcome", "emoji", "text", "task"),
    *("result", "conclusion", "output", "reason", "detail", "durable", "agent"),
)
"""Fields worth showing, in this order."""


def gist(event: AnyEvent | None, limit: int = 100) -> str:
    """Return the gist of an event; None is one that this version does not know."""
    match event:
        case None:
            return "(damaged, or not known to this version)"
        case MessageReceived(author=author, text=text):
            return one_line(f"{author.name}: {shown(text)}", limit)
        case ConversationForked(adapter=adapter, conversation=parent, at=at):
            return one_line(f"of {adapter}/{parent} at {at}", limit)
        case ModelReturned(usage=usage, text=text, tool_calls=calls):
            called = ", ".join(call.name for call in calls)
            return one_line(f"{tokens(usage)} {called} {shown(text)}", limit)
        case BriefingWritten() | DaySummarised() | MemoriesAssociated():
            return one_line(_tended(event), limit)
        case DocumentSplit() | ChunksStored() | ChunksRemoved() | DocumentIngested():
            return _passages(event)
        case _:
            return one_line(" ".join(_values(event)), limit)


def _tended(event: BriefingWritten | DaySummarised | MemoriesAssociated) -> str:
    """Say what the cortex did."""
    match event:
        case BriefingWritten(layers=layers):
            told = (f"{layer.name} {len(layer.lines)}" for layer in layers)
            return ", ".join(told) or "nothing"
        case DaySummarised(day=day, messages=messages, lines=lines):
            return f"{day} {plural(messages, 'message')}, {plural(len(lines), 'line')}"
        case MemoriesAssociated(memory_ids=ids, links=links):
            return f"{len(ids)} compared, {plural(links, 'link')}"


def _passages(event: DocumentSplit | ChunksStored | ChunksRemoved | DocumentIngested) -> str:
    """Say how many passages a document has, gained or lost."""
    match event:
        case DocumentSplit(chunks=number, to_store=changed):
            return f"{plural(number, 'passage')}, {changed:,} to store"
        case ChunksStored(chunks=chunks) | ChunksRemoved(chunks=chunks):
            return plural(len(chunks), "passage")
        case DocumentIngested(chunks=number):
            return plural(number, "passage")


def _values(event: AnyEvent) -> list[str]:
    found = (getattr(event, name, None) for name in TELLING)
    return [shown(value) for value in found if isinstance(value, str | int | BodyRef) and value]


def shown(value: object) -> str:
    """Return a field's value; a body by reference as its size."""
    if isinstance(value, BodyRef):
        return f"({value.bytes:,} bytes)"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def tokens(usage: Usage) -> str:
    """Return the tokens of a model call: read, from the cache among them, and written."""
    cached = f" ({usage.cached:,} cached)" if usage.cached else ""
    return f"{usage.input:,}{cached} → {usage.output:,} tokens"
