"""`penstock dead`: what was given up, and how to have it tried again."""

from projections import dead_letters
from services.cli import output
from services.cli.exits import OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.cli.people import actor
from services.errors import Rejected
from services.runtime.clock import SystemClock
from services.runtime.database import reading
from services.runtime.dead_letters import retry as ask
from services.runtime.writer import Writer


class Listing(Options):
    """Arguments of `dead list`."""

    all: bool = False
    limit: int = 50


class Retry(Options):
    """Arguments of `dead retry`."""

    id: str


async def listing(options: Listing) -> int:
    """Print what waits for a person, newest first."""
    here = Installation(options)
    async with here.pool() as pool, reading(pool, here.tenant) as conn:
        found = await dead_letters.listing(
            conn, here.tenant, retried=options.all, limit=options.limit
        )
    if options.json:
        output.document(found)
        return OK
    if not found:
        print("Nothing was given up.")
        return OK
    rows = [
        (
            output.when(letter.parked_at),
            letter.ref,
            f"{letter.adapter}/{letter.conversation}",
            letter.attempts,
            "open" if letter.open else "retried",
            output.one_line(letter.reason),
        )
        for letter in found
    ]
    output.table(("given up at", "id", "conversation", "attempts", "state", "reason"), rows)
    return OK


async def retry(options: Retry) -> int:
    """Ask on the log for one of them to be tried again."""
    here = Installation(options)
    async with here.pool() as pool, reading(pool, here.tenant) as conn:
        letter = await dead_letters.one(conn, here.tenant, options.id)
    if letter is None:
        raise Rejected(f"nothing called {options.id!r} was given up; see `penstock dead list`")
    async with here.log() as log:
        receipt = await ask(letter, here.tenant, Writer(log, SystemClock(), "cli"), by=actor())
    if options.json:
        output.document({"id": letter.ref, "seq": receipt.seq})
    else:
        print(f"Asked for {letter.ref} to be tried again (event {receipt.seq}).")
    return OK
