"""`penstock person`: who is who across platforms."""

from services.cli import output
from services.cli.exits import OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.cli.people import actor
from services.memory.identities import Identities
from services.memory.people import People, everyone, link as linked, unlink as unlinked
from services.runtime.clock import SystemClock
from services.runtime.writer import Writer


class Link(Options):
    """Arguments of `person link`."""

    person: str
    same_as: str


class Unlink(Options):
    """Arguments of `person unlink`."""

    person: str


async def link(options: Link) -> int:
    """Put on the log that two ids are one person."""
    here = Installation(options)
    async with here.log() as log:
        writer = Writer(log, SystemClock(), actor())
        found = await linked(writer, here.tenant, options.person, options.same_as)
    _tell(found, options.same_as, as_json=options.json)
    return OK


async def unlink(options: Unlink) -> int:
    """Put on the log that an id is a person of its own."""
    here = Installation(options)
    async with here.log() as log:
        writer = Writer(log, SystemClock(), actor())
        found = await unlinked(writer, here.tenant, options.person)
    _tell(found, options.person, as_json=options.json)
    return OK


async def listing(options: Options) -> int:
    """Print who has spoken and who was linked, the latest first."""
    here = Installation(options)
    async with here.log() as log, here.pool() as pool:
        found = await everyone(People(log), pool, here.tenant)
    if options.json:
        output.document(found)
        return OK
    rows = [
        (
            one.person,
            "-" if one.same_as == one.person else one.same_as,
            output.when(one.last_at) if one.last_at is not None else "-",
            output.one_line(one.name or "-"),
        )
        for one in found
    ]
    output.table(("person", "same as", "spoke last", "name"), rows)
    return OK


def _tell(identities: Identities, person: str, *, as_json: bool) -> None:
    ids = identities.all_of(person.strip())
    if as_json:
        output.document({"person": ids[0], "ids": ids})
    elif len(ids) == 1:
        print(f"{ids[0]} is a person of its own.")
    else:
        print(f"{ids[0]} is also {', '.join(ids[1:])}.")
