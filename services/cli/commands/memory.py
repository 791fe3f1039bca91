"""`penstock memory save`, `recall` and `list`: what an agent remembers, as a person sees it.

What a person saves passes the same gate as what an agent saves; only the person may choose whose
memory it is.
"""

from projections import memories
from schemas.base import MemoryId
from schemas.memory import Importance, MemoryKind, MemorySaved, Scope
from services.cli import output
from services.cli.exits import FAILED, OK
from services.cli.installation import Installation
from services.cli.memories import id_of, opened, show
from services.cli.options import Options
from services.cli.people import login
from services.errors import Rejected
from services.memory.gate import Candidate
from services.memory.keeping import Origin
from services.memory.meaning import meaning
from services.runtime import ids
from services.runtime.clock import SystemClock
from services.runtime.database import reading
from services.runtime.memory import DEFAULT_IMPORTANCE, statement
from services.runtime.process import embedder
from services.runtime.text import clean


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
    person: str | None = None
    all: bool = False
    agent: str = "main"
    limit: int = 50


async def save(options: Save) -> int:
    """Have the gate decide on a memory, and put what it decides on the log."""
    if options.scope == "channel" and not options.conversation:
        raise Rejected("a memory of a channel needs --conversation ADAPTER/C")
    text, importance = statement(options.text), options.importance
    async with opened(Installation(options), options.agent) as long_term:
        person = id_of(options.person or login())
        candidate = Candidate(
            memory_id=MemoryId(ids.new()),
            kind=options.kind,
            text=text,
            importance=DEFAULT_IMPORTANCE[options.kind] if importance is None else importance,
            scope=options.scope,
            person=person,
            conversation=options.conversation,
        )
        kept = await long_term.keeper.save(
            long_term.place,
            candidate,
            Origin(ids.new()),
            heard=None,
            ids_of_person=await long_term.ids(person),
        )
    event = kept.event
    replaces = event.replaces if isinstance(event, MemorySaved) else ()
    if options.json:
        output.document({"memory_id": event.memory_id, "seq": kept.seq, "replaces": replaces})
    elif not isinstance(event, MemorySaved):
        print(f"Known already, as {event.memory_id}.")
    else:
        print(f"Saved as {event.memory_id}.")
        for one in replaces:
            print(f"It replaces {one.memory_id} ({one.why}).")
    return OK


async def recall(options: Recall) -> int:
    """Print what matches, best first."""
    here, query = Installation(options), clean(options.query)
    asked = await meaning(embedder(here.config, SystemClock()), query)
    async with (
        opened(here, options.agent) as long_term,
        reading(long_term.pool, here.tenant) as conn,
    ):
        found = await memories.recall(
            conn,
            here.tenant,
            options.agent,
            query,
            meaning=asked,
            kind=options.kind,
            everyone=True,
            limit=options.limit,
        )
    show(found, as_json=options.json)
    return OK if found else FAILED


async def listing(options: Listing) -> int:
    """Print memories, newest first."""
    async with opened(Installation(options), options.agent) as long_term:
        found = await long_term.listing(
            person=options.person, kind=options.kind, replaced=options.all, limit=options.limit
        )
    show(found, as_json=options.json)
    return OK
