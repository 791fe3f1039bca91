"""`penstock memory export`: everything that is remembered of a person, for that person to read."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby

from projections.memories import Memory
from services.cli import output
from services.cli.exits import OK
from services.cli.gist import shown
from services.cli.installation import Installation
from services.cli.memories import opened
from services.cli.options import Options
from services.cli.people import login


class Export(Options):
    """Arguments of `memory export`."""

    person: str | None = None
    agent: str = "main"


async def export(options: Export) -> int:
    """Print what came from a person, what was replaced included, as markdown or JSON."""
    person = options.person or login()
    async with opened(Installation(options), options.agent) as long_term:
        ids = await long_term.ids(person)
        found = await long_term.listing(person=person, replaced=True)
    if options.json:
        output.document({"person": ids[0], "ids": ids, "memories": found})
        return OK
    for line in markdown(ids, found):
        print(output.visible(line))
    return OK


def markdown(ids: tuple[str, ...], found: list[Memory]) -> Iterator[str]:
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
    text = " ".join(shown(memory.text).split())
    return f"- {text} ({_day(memory.saved_at)}{where}, {seen}{ended}, `{memory.memory_id}`)"


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1_000_000, UTC):%Y-%m-%d}"
