"""An agent's memory as a command reads and changes it: caught up with the log, by a person."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from projections.memories import Memory
from services.cli import output
from services.cli.gist import shown
from services.cli.installation import Installation
from services.cli.people import actor
from services.memory.desk import Author, Desk
from services.memory.keeping import Keeper
from services.memory.long_term import LongTerm
from services.memory.neighbours import Place, Projected
from services.memory.people import People
from services.runtime.agents import Agents
from services.runtime.clock import SystemClock
from services.runtime.embedding import Embedder
from services.runtime.writer import Writer


def me() -> Author:
    """Return who sits here, for the log; a command is one try."""
    return Author(actor())


@asynccontextmanager
async def opened(
    here: Installation, agent: str, *, embedder: Embedder | None = None
) -> AsyncIterator[Desk]:
    """Lend an agent's memory, caught up with the log.

    What is saved is decided on by words alone: a model takes a second to load.

    Args:
        here: Where.
        agent: Whose memory.
        embedder: To find things by meaning; None to do without.

    Raises:
        UnknownAgent: there is no such agent.
        DatabaseUnavailable, LogUnavailable: it cannot be reached.
    """
    async with here.log() as log, here.pool() as pool:
        await Agents(log).get(here.tenant, agent)
        clock, known = SystemClock(), Projected(pool)
        there = LongTerm(log, pool, Place(here.tenant, agent), People(log), known, clock, embedder)
        await there.caught_up()
        yield Desk(there, Keeper(Writer(log, clock, actor()), known))


def show(found: Sequence[Memory], *, as_json: bool) -> None:
    """Print memories, one a line."""
    if as_json:
        output.document(found)
        return
    if not found:
        print("No memory.")
        return
    rows = [
        (
            memory.memory_id,
            output.when(memory.saved_at),
            memory.kind,
            memory.scope,
            f"{memory.importance:.1f}",
            output.one_line(shown(memory.text)),
        )
        for memory in found
    ]
    output.table(("id", "saved at", "kind", "scope", "weight", "memory"), rows)
