"""All that is remembered of a person, for that person to read: markdown."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

from projections.memories import Memory
from services.memory.long_term import shown


def markdown(ids: Sequence[str], found: Sequence[Memory]) -> Iterator[str]:
    """Yield the lines of the document.

    Args:
        ids: All ids of the person, the canonical one first.
        found: What is remembered, in any order.
    """
    yield f"# What is remembered of {ids[0]}"
    if len(ids) > 1:
        yield f"\nAlso known as {', '.join(ids[1:])}."
    valid = sorted((one for one in found if one.replaced_by is None), key=_order)
    old = sorted((one for one in found if one.replaced_by is not None), key=_order)
    if not found:
        yield "\nNothing."
    for kind, memories in groupby(valid, key=lambda one: one.kind):
        yield f"\n## {kind.capitalize()}\n"
        yield from map(_item, memories)
    if old:
        yield "\n## No longer valid\n"
        yield from map(_item, old)


def _order(memory: Memory) -> tuple[str, int]:
    return memory.kind, memory.seq


def _item(memory: Memory) -> str:
    where = f", in {memory.conversation}" if memory.conversation else ""
    seen = f"seen by: {memory.scope}"
    ended = f", replaced by `{memory.replaced_by}`" if memory.replaced_by else ""
    text = " ".join(shown(memory).split())
    return f"- {text} ({_day(memory.saved_at)}{where}, {seen}{ended}, `{memory.memory_id}`)"


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1_000_000, UTC):%Y-%m-%d}"
