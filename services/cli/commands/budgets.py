"""`penstock budgets`: what model calls may use, what they have used, and when it begins anew."""

import msgspec

from services.cli import output
from services.cli.chat.conversation import client_of
from services.cli.exits import FAILED, OK
from services.cli.options import Options
from services.runtime.budgets.standing import Standing
from services.runtime.budgets.wording import amount, moment, number


async def budgets(options: Options) -> int:
    """Print every limit; the exit code says whether something is left of each."""
    page = client_of(options).get("/api/v1/budgets")
    found = msgspec.convert(page["items"], list[Standing])
    if options.json:
        output.document(found)
    elif not found:
        print("There is no budget. `[budgets.NAME]` in penstock.toml makes one.")
    else:
        heads = ("budget", "for", "spent", "reserved", "left", "of", "begins anew", "most used by")
        output.table(heads, [_row(one) for one in found])
    return OK if all(one.left for one in found) else FAILED


def _row(one: Standing) -> tuple[str, ...]:
    whom = "everybody" if one.agent is None else one.agent
    if one.job is not None:
        whom = f"job {one.job} of {one.agent}"
    mostly = f"{one.mostly}: {number(one.unit, one.mostly_used)}" if one.mostly else "-"
    return (
        one.budget,
        whom,
        *(number(one.unit, value) for value in (one.spent, one.reserved, one.left)),
        f"{amount(one.unit, one.limit)} a {one.per}",
        moment(one.until, one.zone),
        output.visible(mostly),
    )
