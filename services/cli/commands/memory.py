"""`penstock memory`: what an agent remembers, read and changed by a person.

Changes are the same events that the agent's own branches write; the read model follows at once.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from projections import memories, positions
from projections.memories import Memory
from schemas.base import MemoryId
from schemas.memory import Importance, MemoryEvent, MemoryForgotten, MemoryKind, MemorySaved
from schemas.subjects import Subject
from services.cli import output
from services.cli.exits import FAILED, OK
from services.cli.gist import shown
from services.cli.installation import Installation
from services.cli.options import Options
from services.cli.people import actor, login
from services.errors import Rejected
from services.runtime import ids
from services.runtime.agents import Agents
from services.runtime.clock import SystemClock
from services.runtime.database import Pool, reading, using
from services.runtime.event_log import EventLog
from services.runtime.memory import DEFAULT_IMPORTANCE, statement
from services.runtime.text import clean
from services.runtime.writer import Writer

PATIENCE_S: Final = 3.0  # how long a reader waits for what was just saved
POLL_S: Final = 0.02
EVERY: Final = 1_000_000  # more than anyone has


class Save(Options):
    """Arguments of `memory save`."""

    text: str
    kind: MemoryKind = "fact"
    importance: Importance | None = None
    agent: str = "main"


class Recall(Options):
    """Arguments of `memory recall`."""

    query: str
    kind: MemoryKind | None = None
    agent: str = "main"
    limit: int = 50


class Listing(Options):
    """Arguments of `memory list`."""

    kind: MemoryKind | None = None
    agent: str = "main"
    limit: int = 50


class Forget(Options):
    """Arguments of `memory forget`."""

    id: str
    reason: str = ""
    agent: str = "main"


async def save(options: Save) -> int:
    """Put a memory on the log."""
    here = Installation(options)
    importance = options.importance
    event = MemorySaved(
        memory_id=MemoryId(ids.new()),
        kind=options.kind,
        text=statement(options.text),
        importance=DEFAULT_IMPORTANCE[options.kind] if importance is None else importance,
        person=f"portal:{login()}",
    )
    async with here.log() as log:
        await Agents(log).get(here.tenant, options.agent)
        seq = await _append(log, here.tenant, options.agent, event)
    if options.json:
        output.document({"memory_id": event.memory_id, "seq": seq})
    else:
        print(f"Saved as {event.memory_id}.")
    return OK


async def recall(options: Recall) -> int:
    """Print what matches, best first."""
    here = Installation(options)
    async with here.log() as log, here.pool() as pool:
        await _caught_up(log, pool, here.tenant, options.agent)
        async with reading(pool, here.tenant) as conn:
            found = await memories.recall(
                conn,
                here.tenant,
                options.agent,
                clean(options.query),
                kind=options.kind,
                everyone=True,
                limit=options.limit,
            )
    _print(found, as_json=options.json)
    return OK if found else FAILED


async def listing(options: Listing) -> int:
    """Print memories, newest first."""
    here = Installation(options)
    async with here.log() as log, here.pool() as pool:
        await _caught_up(log, pool, here.tenant, options.agent)
        async with reading(pool, here.tenant) as conn:
            found = await memories.listing(
                conn, here.tenant, options.agent, kind=options.kind, limit=options.limit
            )
    _print(found, as_json=options.json)
    return OK


async def forget(options: Forget) -> int:
    """Put on the log that a memory is forgotten."""
    here = Installation(options)
    async with here.log() as log, here.pool() as pool:
        await _caught_up(log, pool, here.tenant, options.agent)
        memory = await _one(pool, here.tenant, options)
        event = MemoryForgotten(memory_id=memory.memory_id, reason=clean(options.reason))
        seq = await _append(log, here.tenant, options.agent, event)
    if options.json:
        output.document({"memory_id": memory.memory_id, "seq": seq})
    else:
        print(f"Forgotten: {output.one_line(shown(memory.text))}")
    return OK


async def _one(pool: Pool, tenant: str, options: Forget) -> Memory:
    """Return the memory whose id is, or begins with, what was given."""
    async with reading(pool, tenant) as conn:
        there = await memories.listing(conn, tenant, options.agent, limit=EVERY)
    found = [memory for memory in there if memory.memory_id.startswith(options.id)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Rejected(f"no memory {options.id!r}; see `penstock memory list`")
    names = ", ".join(memory.memory_id for memory in found[:5])
    raise Rejected(f"{options.id!r} is the beginning of {len(found)} ids: {names}")


async def _append(log: EventLog, tenant: str, agent: str, event: MemoryEvent) -> int:
    envelope = Writer(log, SystemClock(), actor()).seal(event)
    return await log.append(_subject(tenant, agent), envelope)


def _subject(tenant: str, agent: str) -> str:
    return str(Subject(tenant, agent, entity="memory"))


async def _caught_up(log: EventLog, pool: Pool, tenant: str, agent: str) -> None:
    """Wait until the read model has what is on the log; not for ever."""
    newest = await log.last(_subject(tenant, agent), fresh=True)
    if newest is None:
        return
    clock = SystemClock()
    deadline = clock.monotonic() + PATIENCE_S
    while clock.monotonic() < deadline:
        async with using(pool) as conn:
            position = (await positions.listing(conn)).get(memories.NAME)
        if position is not None and position.seq >= newest.seq:
            return
        await asyncio.sleep(POLL_S)


def _print(found: Sequence[Memory], *, as_json: bool) -> None:
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
            f"{memory.importance:.1f}",
            output.one_line(shown(memory.text)),
        )
        for memory in found
    ]
    output.table(("id", "saved at", "kind", "weight", "memory"), rows)
