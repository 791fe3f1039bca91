"""`penstock memory correct` and `forget`: what is remembered, put right by a person."""

from schemas.base import MemoryId
from schemas.memory import MemoryForgotten
from services.cli import output
from services.cli.exits import OK
from services.cli.gist import shown
from services.cli.installation import Installation
from services.cli.memories import opened
from services.cli.options import Options
from services.errors import Rejected
from services.memory.gate import Candidate, Neighbour
from services.memory.keeping import Origin
from services.runtime import ids
from services.runtime.memory import statement
from services.runtime.text import clean


class Correct(Options):
    """Arguments of `memory correct`."""

    id: str
    text: str
    person: str | None = None
    agent: str = "main"


class Forget(Options):
    """Arguments of `memory forget`."""

    id: str | None = None
    reason: str = ""
    person: str | None = None
    all: bool = False
    agent: str = "main"


async def correct(options: Correct) -> int:
    """Put on the log how a memory is right; what it said before stays in its history."""
    text = statement(options.text)
    async with opened(Installation(options), options.agent) as long_term:
        wrong = await long_term.one(options.id, person=options.person)
        candidate = Candidate(
            memory_id=MemoryId(ids.new()),
            kind=wrong.kind,
            text=text,
            importance=wrong.importance,
            scope=wrong.scope,
            person=wrong.person,
            conversation=wrong.conversation,
            source=wrong.source,
        )
        kept = await long_term.keeper.correct(
            long_term.place,
            candidate,
            Neighbour(wrong.memory_id, wrong.kind, shown(wrong.text), wrong.importance),
            Origin(ids.new()),
            ids_of_person=await long_term.ids(wrong.person) if wrong.person else (),
        )
    if options.json:
        output.document({"memory_id": kept.event.memory_id, "seq": kept.seq})
    else:
        print(f"Corrected: {output.one_line(text)} ({kept.event.memory_id})")
    return OK


async def forget(options: Forget) -> int:
    """Put on the log that a memory, or all of a person, is forgotten."""
    if options.all == (options.id is not None) or (options.all and not options.person):
        raise Rejected("say which memory: its id, or --all with --person P for all of a person")
    async with opened(Installation(options), options.agent) as long_term:
        found = (
            await long_term.listing(person=options.person, replaced=True)
            if options.id is None
            else [await long_term.one(options.id, person=options.person, replaced=True)]
        )
        told = []
        for memory in found:
            event = MemoryForgotten(memory_id=memory.memory_id, reason=clean(options.reason))
            seq = await long_term.append(event)
            told.append({"memory_id": memory.memory_id, "seq": seq})
    if options.json:
        output.document(told[0] if options.id is not None else told)
        return OK
    for memory in found:
        print(f"Forgotten: {output.one_line(shown(memory.text))}")
    if not found:
        print("There was nothing to forget.")
    return OK
