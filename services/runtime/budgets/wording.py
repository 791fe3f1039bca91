"""What is said of a budget that is used up: to administrators, and to the people who asked."""

from datetime import UTC, datetime
from typing import Final

from schemas.spend import BudgetUnit, Shortage
from services.runtime import days

SECOND: Final = 1_000_000
CENT: Final = 0.01
NAMES: Final[dict[BudgetUnit, str]] = {"usd": "", "tokens": " tokens", "calls": " model calls"}


def told(shortage: Shortage) -> str:
    """Return which budget is used up, its limit, what was spent, until when, and by what."""
    if shortage.unpriced:
        return (
            f"budget {shortage.budget} is in dollars, and nobody knows the price of "
            f"{shortage.unpriced}: models.unpriced says what then"
        )
    unit = shortage.unit
    spent = (
        f"budget {shortage.budget} is used up: {number(unit, shortage.spent)} of "
        f"{amount(unit, shortage.limit)} a {shortage.per} spent"
    )
    parts = [spent]
    if shortage.held:
        parts.append(f"{number(unit, shortage.held)} reserved for calls under way or cut short")
    if unit != "calls":
        parts.append(f"the next call may need {number(unit, shortage.needs)}")
    said = ", ".join(parts) + f"; it begins anew at {moment(shortage.until, shortage.zone)}"
    if shortage.mostly:
        said += f"; most was used by {shortage.mostly}: {number(unit, shortage.mostly_used)}"
    return said


def for_people(shortage: Shortage) -> str:
    """Return what somebody is told whose message no model is asked about.

    Amounts are left out: they are the administrators', and the same words say it all period long.
    """
    name = shortage.budget
    if shortage.unpriced:
        return (
            f"I cannot answer this: there is a budget ({name}) in dollars, and the price of the "
            f"model {shortage.unpriced} is not known. An administrator can choose another model, "
            "or set `models.unpriced`. What you wrote is kept."
        )
    until = moment(shortage.until, shortage.zone)
    return (
        f"I cannot answer this now: the budget {name} is used up until {until}. An administrator "
        f"can raise it (`budgets.{name}` in the configuration) and see with `penstock budgets` "
        "what has used it. What you wrote is kept; please ask again then."
    )


def amount(unit: BudgetUnit, value: float) -> str:
    """Return an amount as people read it, for example `$4.90` or `3 model calls`."""
    return f"{number(unit, value)}{NAMES[unit]}"


def number(unit: BudgetUnit, value: float) -> str:
    """Return an amount without the name of its unit."""
    if unit != "usd":
        return f"{value:,.0f}"
    return f"${value:,.2f}" if value >= CENT or not value else f"${value:.4f}"


def moment(at: int, zone: str) -> str:
    """Return a moment in a time zone; in UTC where this machine does not know the zone."""
    where = days.zone(zone) if days.is_zone(zone) else UTC
    return f"{datetime.fromtimestamp(at / SECOND, UTC).astimezone(where):%Y-%m-%d %H:%M %Z}"
