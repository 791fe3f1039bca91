"""`penstock memory correct` and `forget`: what is remembered, put right by a person."""

from services.cli import output
from services.cli.exits import OK
from services.cli.gist import shown
from services.cli.installation import Installation
from services.cli.memories import me, opened
from services.cli.options import Options
from services.errors import Rejected


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
    async with opened(Installation(options), options.agent) as desk:
        stored = await desk.correct(options.id, options.text, me(), person=options.person)
    if options.json:
        output.document({"memory_id": stored.memory_id, "seq": stored.seq})
    else:
        print(f"Corrected: {output.one_line(options.text)} ({stored.memory_id})")
    return OK


async def forget(options: Forget) -> int:
    """Put on the log that a memory, or all of a person, is forgotten."""
    if options.all == (options.id is not None) or (options.all and not options.person):
        raise Rejected("say which memory: its id, or --all with --person P for all of a person")
    async with opened(Installation(options), options.agent) as desk:
        found = (
            await desk.there.listing(person=options.person, replaced=True)
            if options.id is None
            else [await desk.there.one(options.id, person=options.person, replaced=True)]
        )
        told = await desk.forget(found, me(), reason=options.reason)
    if options.json:
        output.document(told[0] if options.id is not None else told)
        return OK
    for memory in found:
        print(f"Forgotten: {output.one_line(shown(memory.text))}")
    if not found:
        print("There was nothing to forget.")
    return OK
