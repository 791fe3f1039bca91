"""`penstock agent`: the agents there are."""

from services.cli import output
from services.cli.exits import OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.runtime.agents import Agents


async def listing(options: Options) -> int:
    """Print the agents, as the log defines them."""
    here = Installation(options)
    async with here.log() as log:
        found = await Agents(log).of(here.tenant)
    if options.json:
        output.document(found)
        return OK
    rows = [
        (agent.id, agent.name, agent.model or "-", output.one_line(agent.instructions) or "-")
        for agent in found
    ]
    output.table(("id", "name", "model", "instructions"), rows)
    return OK
