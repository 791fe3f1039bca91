"""Budgets, and what was spent as the log tells it."""

from schemas.base import EventId, RunId
from schemas.spend import SpendReserved, SpendSettled
from schemas.subjects import Subject
from services.runtime.budgets.budget import Budget
from services.runtime.budgets.decider import Calendar, decide
from services.runtime.budgets.ledger import Ledger
from services.runtime.days import zone
from services.runtime.event_log import Recorded
from tests.support.builders import START

DAY = "2023-11-14"  # of START
UTC = Calendar(zone("UTC"), "UTC")
SPEND = Subject("acme", entity="spend", id="2023-11")


def budget(name="team", *, tenant="acme", per="day", **limits) -> Budget:
    return Budget(name, tenant, per, **limits)


def reserved(id_="r1", *, agent="atlas", job=None, usd=0.1, tokens=100, day=DAY) -> SpendReserved:
    return SpendReserved(
        reservation=EventId(id_),
        run_id=RunId(f"run-{id_}"),
        step=1,
        agent=agent,
        day=day,
        model="scripted/one",
        tokens=tokens,
        usd=usd,
        job=job,
    )


def settled(id_="r1", *, usd=0.05, tokens=50, calls=1) -> SpendSettled:
    return SpendSettled(reservation=EventId(id_), usd=usd, tokens=tokens, calls=calls)


def ledger(events: list[Recorded]) -> Ledger:
    """Return the fold of a spend stream."""
    found = Ledger()
    for recorded in events:
        if recorded.event is None or isinstance(recorded.event, SpendReserved | SpendSettled):
            found.take(recorded)
    return found


def short(of: Ledger, *budgets: Budget, usd=0.1, tokens=100, at=START):
    """Return which of the budgets has no room for a call, or None."""
    needs = {"usd": round(usd * 1_000_000_000), "tokens": tokens, "calls": 1}
    return decide(of, budgets, needs, at=at, calendar=UTC)
