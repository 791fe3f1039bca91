"""`penstock briefing`: what an agent has in mind."""

from schemas.cortex import BriefingWritten
from schemas.subjects import Subject
from services.cli import output
from services.cli.exits import FAILED, OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.runtime.agents import Agents
from services.runtime.briefings import shown, subject_of


class Briefing(Options):
    """Arguments of `briefing`."""

    agent: str = "main"


async def briefing(options: Briefing) -> int:
    """Print the newest briefing."""
    here = Installation(options)
    async with here.log() as log:
        await Agents(log).get(here.tenant, options.agent)
        subject = str(subject_of(here.tenant, options.agent, "briefing"))
        newest = await log.last(subject, fresh=True)
    event = newest.event if newest else None
    if newest is None or not isinstance(event, BriefingWritten):
        if options.json:
            output.document(None)
        else:
            print("No briefing yet: nothing has happened that everybody may know.")
        return FAILED
    if options.json:
        written = {"seq": newest.seq, "id": newest.envelope.id, "at": newest.envelope.at}
        output.document({**written, "layers": event.layers, "people": event.people})
        return OK
    print(f"Written {output.when(newest.envelope.at)}")
    text = shown(event, Subject(here.tenant, options.agent))
    print(output.visible(text or "It is empty."))
    return OK
