"""`penstock diff`: two conversations that share a beginning, side by side."""

from schemas.subjects import Subject
from services.cli import output
from services.cli.comparison import draw
from services.cli.exits import OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.runtime.bodies import CachedBodies
from services.runtime.comparing import compare
from services.runtime.jetstream.bodies import JetStreamBodies

HERE = "portal"  # where a conversation is that is named without its adapter


class Diff(Options):
    """Arguments of `diff`."""

    a: str
    b: str
    agent: str = "main"
    limit: int = 20


async def diff(options: Diff) -> int:
    """Print what came of the same beginning."""
    here = Installation(options)
    one, other = [_place(here.tenant, options.agent, name) for name in (options.a, options.b)]
    async with here.log() as log, here.connection() as connection:
        bodies = CachedBodies(JetStreamBodies(connection))
        found = await compare(log, bodies, one, other, most=max(1, options.limit))
    if options.json:
        output.document(found)
    else:
        draw(found)
    return OK


def _place(tenant: str, agent: str, name: str) -> Subject:
    adapter, slash, rest = name.partition("/")
    return Subject(tenant, agent, adapter, rest) if slash else Subject(tenant, agent, HERE, name)
