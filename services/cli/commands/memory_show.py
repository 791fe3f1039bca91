"""`penstock memory show`: one memory, where it comes from, and what it is bound up with."""

from collections.abc import Iterator

from services.cli import output
from services.cli.exits import OK
from services.cli.gist import shown
from services.cli.installation import Installation
from services.cli.memories import opened
from services.cli.options import Options
from services.memory.long_term import Detail


class Show(Options):
    """Arguments of `memory show`."""

    id: str
    person: str | None = None
    agent: str = "main"


async def show(options: Show) -> int:
    """Print a memory with its provenance, links and history."""
    async with opened(Installation(options), options.agent) as desk:
        memory = await desk.there.one(options.id, person=options.person, replaced=True)
        detail = await desk.there.detail(memory)
    if options.json:
        output.document(detail)
        return OK
    for line in _lines(detail):
        print(output.visible(line))
    return OK


def _lines(detail: Detail) -> Iterator[str]:
    memory, source = detail.memory, detail.source
    yield shown(memory.text)
    yield f"  {memory.memory_id}: {memory.kind}, seen by {memory.scope}, {memory.importance:.1f}"
    yield f"  saved {output.when(memory.saved_at)} from {memory.person or 'nobody'}"
    if memory.conversation:
        yield f"  in {memory.conversation}"
    if source is not None:
        said = f": {output.one_line(shown(source.text))}" if source.text else ""
        yield f"  learned from {source.type} {source.event_id} of {source.actor}{said}"
    if memory.touches or memory.recalls:
        yield f"  said again {memory.touches:,} times, recalled {memory.recalls:,} times"
    if memory.replaced_by:
        yield f"  replaced by {memory.replaced_by} ({memory.replaced_why})"
    for edge in detail.edges:
        if edge.memory_id == memory.memory_id:
            yield f"  {edge.relation} {edge.to_id} ({edge.weight:.2f})"
        else:
            yield f"  {edge.memory_id} {edge.relation} this ({edge.weight:.2f})"
    if detail.history:
        yield "\nBefore and after it:"
    for one in detail.history:
        yield f"  {output.when(one.saved_at)}  {one.memory_id}  {output.one_line(shown(one.text))}"
