"""`penstock memory save`, `recall` and `list`: what an agent remembers, as a person sees it.

What a person saves passes the same gate as what an agent saves; only the person may choose whose
memory it is.
"""

from schemas.memory import Importance, MemoryKind, Scope
from services.cli import output
from services.cli.exits import FAILED, OK
from services.cli.installation import Installation
from services.cli.memories import me, opened, show
from services.cli.options import Options
from services.cli.people import login
from services.memory.desk import NewMemory
from services.memory.long_term import Question
from services.runtime.clock import SystemClock
from services.runtime.process import embedder


class Save(Options):
    """Arguments of `memory save`."""

    text: str
    kind: MemoryKind = "fact"
    importance: Importance | None = None
    scope: Scope = "agent"
    person: str | None = None
    conversation: str | None = None
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
    scope: Scope | None = None
    text: str | None = None
    person: str | None = None
    all: bool = False
    agent: str = "main"
    limit: int = 50


async def save(options: Save) -> int:
    """Have the gate decide on a memory, and put what it decides on the log."""
    new = NewMemory(
        text=options.text,
        kind=options.kind,
        importance=options.importance,
        scope=options.scope,
        person=options.person or login(),
        conversation=options.conversation,
    )
    async with opened(Installation(options), options.agent) as desk:
        stored = await desk.save(new, me())
    if options.json:
        told = {"memory_id": stored.memory_id, "seq": stored.seq, "replaces": stored.replaces}
        output.document(told)
    elif stored.known:
        print(f"Known already, as {stored.memory_id}.")
    else:
        print(f"Saved as {stored.memory_id}.")
        for one in stored.replaces:
            print(f"It replaces {one.memory_id} ({one.why}).")
    return OK


async def recall(options: Recall) -> int:
    """Print what matches, best first."""
    here = Installation(options)
    asked = Question(query=options.query, kind=options.kind, limit=options.limit)
    by_meaning = embedder(here.config, SystemClock())
    async with opened(here, options.agent, embedder=by_meaning) as desk:
        found = await desk.there.recall(asked, audience=None)
    show(found, as_json=options.json)
    return OK if found else FAILED


async def listing(options: Listing) -> int:
    """Print memories, newest first."""
    async with opened(Installation(options), options.agent) as desk:
        found = await desk.there.listing(
            person=options.person,
            kind=options.kind,
            scope=options.scope,
            text=options.text,
            replaced=options.all,
            limit=options.limit,
        )
    show(found, as_json=options.json)
    return OK
