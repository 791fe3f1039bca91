"""`penstock doctor`: what would keep Penstock from working here, and how to fix it."""

from collections.abc import AsyncIterator

from services.cli import output
from services.cli.checks.finding import Finding, fail, ok, warn
from services.cli.checks.machine import machine
from services.cli.checks.model import model
from services.cli.checks.recall import recall
from services.cli.checks.servers import servers
from services.cli.exits import FAILED, OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.errors import InvalidConfiguration
from services.runtime import settings
from services.runtime.clock import SystemClock


async def doctor(options: Options) -> int:
    """Run every check and print what it says, each as soon as it is known."""
    found = []
    async for finding in _findings(options):
        found.append(finding)
        if not options.json:
            print(f"{finding.level:<5} {finding.name:<16} {output.one_line(finding.text, 400)}")
            if finding.fix:
                print(f"{'':<22} {finding.fix}", flush=True)
    failed = sum(finding.level == "fail" for finding in found)
    if options.json:
        output.document({"ok": not failed, "findings": found})
    elif failed:
        print(f"\n{failed} of {len(found)} checks failed.")
    return FAILED if failed else OK


async def _findings(options: Options) -> AsyncIterator[Finding]:
    try:
        here = Installation(options)
    except InvalidConfiguration as error:
        for problem in error.problems:
            yield fail("configuration", problem, "Correct it, or remove it for the default.")
        return
    yield ok("configuration", "can be read")
    for finding in settings.check(options.config):
        yield warn("configuration", finding.text, "See docs/configuration.md.")
    async for found in machine(here.config, SystemClock()):
        yield found
    async for found in servers(here):
        yield found
    async for found in model(here.config):
        yield found
    async for found in recall(here.config, SystemClock()):
        yield found
