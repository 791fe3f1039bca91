"""Whether there is room for a model call in every budget that covers it.

Consumes:  the fold of a month's spend stream, budgets, what a call may use at most
Emits:     the first budget without room, or none
Never:     awaits, reads a clock, asks for a price
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from schemas.spend import BudgetUnit, Shortage
from services.runtime.budgets.budget import Budget, Period, period, shown
from services.runtime.budgets.ledger import Amounts, Ledger


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where days and months begin."""

    zone: tzinfo
    name: str
    """IANA name of the zone."""


def decide(
    ledger: Ledger, budgets: Sequence[Budget], needs: Amounts, *, at: int, calendar: Calendar
) -> Shortage | None:
    """Return the first budget that a call would exceed, or None.

    Args:
        ledger: Everything that was reserved and settled in the month.
        budgets: Those that cover the call.
        needs: What it may use at most.
        at: UTC microseconds.
        calendar: Where days and months begin.
    """
    for budget in budgets:
        when = period(budget.per, at, calendar.zone)
        used = ledger.used(when.key, budget.agent, budget.job)
        for unit, limit in budget.limits():
            if used.spent[unit] + used.held[unit] + needs[unit] > limit:
                return _shortage(ledger, budget, unit, when, needs=needs[unit], zone=calendar.name)
    return None


def used_up(
    ledger: Ledger,
    budgets: Sequence[Budget],
    agent: str,
    job: str,
    *,
    at: int,
    calendar: Calendar,
) -> Shortage | None:
    """Return a budget that has no room even for the smallest call of a job, or None.

    What calls under way hold is left out: they may use less. Where the job, or else anybody, has
    made no call yet, any room will do.
    """
    for budget in budgets:
        when = period(budget.per, at, calendar.zone)
        used = ledger.used(when.key, budget.agent, budget.job)
        needs = _least(ledger, when, (agent, job))
        for unit, limit in budget.limits():
            if used.spent[unit] + needs[unit] > limit:
                return _shortage(ledger, budget, unit, when, needs=needs[unit], zone=calendar.name)
    return None


def _least(ledger: Ledger, when: Period, of: tuple[str, str]) -> Amounts:
    for scope in (of, ("", "")):
        least = ledger.used(when.key[:7], *scope).least
        if least is not None:
            return least
    return {"usd": 1, "tokens": 1, "calls": 1}


def unpriced(budget: Budget, model: str, *, at: int, calendar: Calendar) -> Shortage:
    """Return why a call of a model without a known price is refused under a budget in dollars."""
    return Shortage(
        budget=budget.name,
        unit="usd",
        per=budget.per,
        limit=budget.usd or 0.0,
        spent=0.0,
        held=0.0,
        needs=0.0,
        until=period(budget.per, at, calendar.zone).until,
        zone=calendar.name,
        unpriced=model,
    )


def may_pass(shortage: Shortage) -> bool:
    """Tell whether there may be room as soon as calls under way are settled."""
    return shortage.held > 0 and shortage.spent + shortage.needs <= shortage.limit


def _shortage(
    ledger: Ledger, budget: Budget, unit: BudgetUnit, when: Period, *, needs: int, zone: str
) -> Shortage:
    used = ledger.used(when.key, budget.agent, budget.job)
    mostly, most = "", 0
    if budget.job is None:
        mostly, most = ledger.mostly(when.key, budget.agent, unit)
    return Shortage(
        budget=budget.name,
        unit=unit,
        per=budget.per,
        limit=float(getattr(budget, unit)),
        spent=shown(unit, used.spent[unit]),
        held=shown(unit, used.held[unit]),
        needs=shown(unit, needs),
        until=when.until,
        zone=zone,
        mostly=mostly,
        mostly_used=shown(unit, most),
    )
