"""`penstock verify`: the log against its archive, and one restored from the other."""

from typing import Literal

from services.cli import output
from services.cli.exits import FAILED, OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.errors import Rejected
from services.projector.verify import Gap, Verified, restore_archive, restore_log, verify as compare
from services.runtime.database import Pool
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.live import NatsLive
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.main import ASK

KINDS = {
    "missing_in_archive": "only in the log",
    "missing_in_log": "only in the archive",
    "missing_in_both": "in neither",
    "different": "not the same in both",
}


class Verify(Options):
    """Arguments of `verify`."""

    repair: Literal["log", "archive"] | None = None


async def verify(options: Verify) -> int:
    """Compare, and repair if asked."""
    here = Installation(options)
    async with here.pool() as pool, here.connection() as connection:
        log = JetStreamLog(connection)
        if options.repair == "log":
            await log.create(replicas=here.config.log.replicas)  # it may be lost as a whole
        found = await compare(log, pool)
        restored = None
        if options.repair:
            restored = await _repair(options.repair, log, pool, connection, found.gaps)
            found = await compare(log, pool)
    if options.json:
        output.document({"verified": found, "restored": restored})
    else:
        _show(found, restored)
    return FAILED if found.gaps else OK


async def _repair(
    what: Literal["log", "archive"],
    log: JetStreamLog,
    pool: Pool,
    connection: Connection,
    gaps: list[Gap],
) -> int:
    if what == "archive":
        return await restore_archive(log, pool, gaps)
    if await NatsLive(connection).anyone(ASK):
        raise Rejected(
            "services are running, and nothing else may append meanwhile: stop them, run "
            "`penstock infra` for the embedded servers, and try again"
        )
    return await restore_log(log, pool)


def _show(found: Verified, restored: int | None) -> None:
    if restored is not None:
        print(f"Restored {restored:,} events.")
    print(
        f"{found.same:,} events are the same in the log and in the archive; "
        f"{found.pending:,} are not archived yet."
    )
    for gap in found.gaps:
        span = f"{gap.first}" if gap.count == 1 else f"{gap.first} to {gap.last}"
        print(f"  {span} ({gap.count:,}): {KINDS[gap.kind]}")
    if found.gaps and restored is None:
        print("`penstock verify --repair archive` or `--repair log` restores what can be.")
