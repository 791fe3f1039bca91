"""One budget, and the period that a moment belongs to. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from typing import Final

from schemas.spend import BudgetPeriod, BudgetUnit
from schemas.subjects import JOB, Subject
from services.runtime import days

BILLION: Final = (
    1_000_000_000  # dollars are added up in billionths, so that no sum depends on order
)
UNITS: Final[tuple[BudgetUnit, ...]] = ("usd", "tokens", "calls")


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on what the model calls of a tenant, of one agent or of one job may use."""

    name: str
    tenant: str
    per: BudgetPeriod = "month"
    agent: str | None = None
    """None: all agents together."""
    job: str | None = None
    """A job of that agent; None: everything that the agent does."""
    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None

    def covers(self, tenant: str, agent: str | None, job: str | None) -> bool:
        """Tell whether calls of this agent, for this job if any, count."""
        if tenant != self.tenant or self.agent not in {None, agent}:
            return False
        return self.job in {None, job}

    def limits(self) -> Iterator[tuple[BudgetUnit, int]]:
        """Yield what is limited, dollars in billionths."""
        for unit in UNITS:
            limit = getattr(self, unit)
            if limit is not None:
                yield unit, counted(unit, limit)


@dataclass(frozen=True, slots=True)
class Period:
    """A day or a month."""

    key: str
    """`2026-11-24` or `2026-11`."""
    since: int
    """UTC microseconds."""
    until: int
    """When the next one begins."""


def period(per: BudgetPeriod, at: int, zone: tzinfo) -> Period:
    """Return the local day or month that a moment belongs to."""
    day = days.day_of(at, zone)
    if per == "day":
        return Period(day.isoformat(), days.begin(day, zone), days.begin(days.after(day), zone))
    first = day.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return Period(month(day), days.begin(first, zone), days.begin(following, zone))


def month(day: date) -> str:
    """Return the month of a day, as subjects name it."""
    return f"{day:%Y-%m}"


def job_of(place: Subject) -> str | None:
    """Return the job that a run's stream belongs to; None where people talk."""
    return place.conversation if place.adapter == JOB else None


def counted(unit: BudgetUnit, amount: float) -> int:
    """Return an amount as it is added up."""
    return round(amount * BILLION) if unit == "usd" else int(amount)


def shown(unit: BudgetUnit, amount: int) -> float:
    """Return an amount that was added up, in its unit."""
    return amount / BILLION if unit == "usd" else float(amount)
