"""What model calls may cost and did cost, where a budget covers them.

Subject:  evt.{tenant}._._._.spend.{month} (a calendar month such as `2026-11`, in the time zone in
          which the installation's days begin)
Order:    spend_reserved before a model is asked, spend_settled once it has answered or failed; many
          are under way at once. A reservation without a settlement counts in full.
Writer:   whoever owns a run: services.channel, services.branch, services.worker, services.cortex,
          services.compactor
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.json import Decoder

from schemas.base import Event, EventId, Microseconds, RunId, Tokens, Usd

LocalDay = Annotated[
    str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", description="A local day, year-month-day.")
]
Amount = Annotated[
    float, Meta(ge=0, description="US dollars, tokens or model calls, as the unit says.")
]
BudgetUnit = Literal["usd", "tokens", "calls"]
BudgetPeriod = Literal["day", "month"]


class Shortage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A budget that has no room for a model call, as it was at that moment."""

    budget: str
    """Its name in the configuration."""
    unit: BudgetUnit
    per: BudgetPeriod
    limit: Amount
    spent: Amount
    """By calls that were answered."""
    held: Amount
    """Reserved for calls that nobody has settled: under way, or cut short."""
    needs: Amount
    """What the call may use at most."""
    until: Microseconds
    """When the budget begins anew."""
    zone: str = "UTC"
    """Time zone of its periods, by its IANA name."""
    mostly: str = ""
    """What has used most of it; empty when nothing has."""
    mostly_used: Amount = 0.0
    unpriced: str = ""
    """The model whose price nobody knows: then that is the reason, and no amount is."""


class SpendReserved(Event, tag="spend_reserved"):
    """A model call is about to be made; what it may cost at most counts from now on."""

    reservation: EventId
    """Derived from the run and its step: whoever takes the run over finds it."""
    run_id: RunId
    step: int
    """Counts the run's model calls from 1."""
    agent: str
    day: LocalDay
    """The day on which it counts, and the month."""
    model: str
    tokens: Tokens
    """Of the request and of the longest answer, at most."""
    usd: Usd = 0.0
    """Their price, at most; 0 for models that cost nothing."""
    job: str | None = None
    """The job whose run it is for."""


class SpendSettled(Event, tag="spend_settled"):
    """The model call is over; this is what counts instead of what was reserved."""

    reservation: EventId
    usd: Usd = 0.0
    tokens: Tokens = 0
    calls: Annotated[int, Meta(ge=0)] = 0
    """1 for a call that was answered, 0 for one that failed."""


SpendEvent: TypeAlias = SpendReserved | SpendSettled
SPEND_EVENTS: Decoder[SpendEvent] = Decoder(SpendEvent)
