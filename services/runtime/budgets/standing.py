"""How every budget stands: what its period has used so far, and what is left. Pure."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from schemas.spend import BudgetPeriod, BudgetUnit
from services.runtime.budgets.budget import Budget, period, shown
from services.runtime.budgets.decider import Calendar
from services.runtime.budgets.ledger import Ledger


class Standing(Struct, frozen=True, kw_only=True):
    """One limit of one budget; times in UTC microseconds."""

    budget: str
    agent: str | None
    """None: all agents of the tenant."""
    job: str | None
    unit: BudgetUnit
    per: BudgetPeriod
    limit: float
    spent: float
    reserved: float
    """For calls under way, and for those that were cut short and that nobody settled."""
    left: float
    since: int
    until: int
    """When it begins anew."""
    zone: str
    mostly: str
    """What has used most of it; empty when nothing has, and for the budget of a job."""
    mostly_used: float


def standings(
    ledger: Ledger, budgets: Sequence[Budget], *, at: int, calendar: Calendar
) -> Iterator[Standing]:
    """Yield how the budgets of one tenant stand, limit by limit, as they are configured."""
    for budget in budgets:
        when = period(budget.per, at, calendar.zone)
        used = ledger.used(when.key, budget.agent, budget.job)
        for unit, limit in budget.limits():
            spent, held = used.spent[unit], used.held[unit]
            mostly, most = "", 0
            if budget.job is None:
                mostly, most = ledger.mostly(when.key, budget.agent, unit)
            yield Standing(
                budget=budget.name,
                agent=budget.agent,
                job=budget.job,
                unit=unit,
                per=budget.per,
                limit=shown(unit, limit),
                spent=shown(unit, spent),
                reserved=shown(unit, held),
                left=shown(unit, max(0, limit - spent - held)),
                since=when.since,
                until=when.until,
                zone=calendar.name,
                mostly=mostly,
                mostly_used=shown(unit, most),
            )
