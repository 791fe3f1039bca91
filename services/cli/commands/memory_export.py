"""`penstock memory export`: everything that is remembered of a person, for that person to read."""

from services.cli import output
from services.cli.exits import OK
from services.cli.installation import Installation
from services.cli.memories import opened
from services.cli.options import Options
from services.cli.people import login
from services.memory.export import markdown


class Export(Options):
    """Arguments of `memory export`."""

    person: str | None = None
    agent: str = "main"


async def export(options: Export) -> int:
    """Print what came from a person, what was replaced included, as markdown or JSON."""
    person = options.person or login()
    async with opened(Installation(options), options.agent) as desk:
        ids = await desk.there.ids(person)
        found = await desk.there.listing(person=person, replaced=True)
    if options.json:
        output.document({"person": ids[0], "ids": ids, "memories": found})
        return OK
    for line in markdown(ids, found):
        print(output.visible(line))
    return OK
