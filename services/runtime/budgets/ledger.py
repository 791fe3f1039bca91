"""What a month's model calls have used and may yet use: the fold of one spend stream. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from schemas.base import EventId
from schemas.spend import BudgetUnit, SpendReserved, SpendSettled
from services.runtime.budgets.budget import UNITS, counted
from services.runtime.event_log import Recorded

Amounts: TypeAlias = dict[BudgetUnit, int]
Scope: TypeAlias = tuple[str, str, str]
"""A day or a month, an agent, a job of it; empty for all agents, and for everything it does."""


def nothing() -> Amounts:
    """Return no amount of anything."""
    return dict.fromkeys(UNITS, 0)


@dataclass(slots=True)
class Used:
    """What one scope has used."""

    spent: Amounts = field(default_factory=nothing)
    held: Amounts = field(default_factory=nothing)
    """Reserved and not settled."""
    least: Amounts | None = None
    """The smallest that a call was reserved with, unit by unit; None before there was one."""


class Saved(Struct, frozen=True, array_like=True):
    """A ledger as it is kept for the next process."""

    seq: int
    at: EventId | None
    open: list[SpendReserved]
    used: list[tuple[Scope, Amounts, Amounts, Amounts | None]]


_DECODE: Final = msgspec.json.Decoder(Saved).decode
SHAPE: Final = sha256(msgspec.json.encode(msgspec.json.schema(Saved), order="sorted")).hexdigest()[
    :12
]
"""Fingerprint of the fold's shape; what was saved in another shape is not read."""


class Ledger:
    """The fold; it changes in place, since it is large and of one owner."""

    def __init__(self) -> None:
        self.seq = 0
        """Sequence of the last event folded: what the next reservation expects."""
        self.at: EventId | None = None
        """Id of that event."""
        self.open: dict[EventId, SpendReserved] = {}
        """Reservations that nobody has settled."""
        self._used: dict[Scope, Used] = {}

    def take(self, recorded: Recorded) -> None:
        """Fold one event; one that was folded already changes nothing."""
        if recorded.seq <= self.seq:
            return
        self.seq, self.at = recorded.seq, recorded.envelope.id
        match recorded.event:
            case SpendReserved() as event if event.reservation not in self.open:
                self.open[event.reservation] = event
                self._reserve(event)
            case SpendSettled() as event if event.reservation in self.open:
                self._settle(self.open.pop(event.reservation), event)
            case _:
                pass

    def saved(self) -> bytes:
        """Return the fold, to go on from another time."""
        used = [(scope, it.spent, it.held, it.least) for scope, it in self._used.items()]
        return msgspec.json.encode(Saved(self.seq, self.at, list(self.open.values()), used))

    @classmethod
    def restored(cls, saved: bytes) -> "Ledger":
        """Return the fold that was saved.

        Raises:
            msgspec.DecodeError: it is damaged.
        """
        was, ledger = _DECODE(saved), cls()
        ledger.seq, ledger.at = was.seq, was.at
        ledger.open = {event.reservation: event for event in was.open}
        ledger._used = {it[0]: Used(it[1], it[2], it[3]) for it in was.used}
        return ledger

    def used(self, period: str, agent: str | None, job: str | None) -> Used:
        """Return what a scope has used; nothing where it is not known."""
        return self._used.get((period, agent or "", job or "")) or Used()

    def mostly(self, period: str, agent: str | None, unit: BudgetUnit) -> tuple[str, int]:
        """Return which agent, or which job of one, has used most of a unit, and how much.

        What an agent used for its jobs counts for these alone.
        """
        parts: dict[tuple[str, str], int] = {}
        for (when, who, job), used in self._used.items():
            if when != period or not who or agent not in {None, who}:
                continue
            spent = used.spent[unit]
            parts[who, job] = parts.get((who, job), 0) + spent
            if job:
                parts[who, ""] = parts.get((who, ""), 0) - spent
        if not parts:
            return "", 0
        (who, job), most = max(parts.items(), key=lambda part: part[1])
        if not most:
            return "", 0
        return (f"job {job} of {who}" if job else f"what people asked of {who}"), most

    def _reserve(self, event: SpendReserved) -> None:
        amounts = reserved(event)
        for used in self._scopes(event):
            least = used.least or amounts
            used.least = {unit: min(least[unit], amounts[unit]) for unit in UNITS}
            for unit in UNITS:
                used.held[unit] += amounts[unit]

    def _settle(self, event: SpendReserved, settled: SpendSettled) -> None:
        amounts = reserved(event)
        actual: Amounts = {unit: counted(unit, getattr(settled, unit)) for unit in UNITS}
        for used in self._scopes(event):
            for unit in UNITS:
                used.held[unit] -= amounts[unit]
                used.spent[unit] += actual[unit]

    def _scopes(self, event: SpendReserved) -> Iterator[Used]:
        """Yield every sum that a reservation is part of."""
        for period in (event.day, event.day[:7]):
            yield self._used.setdefault((period, "", ""), Used())
            yield self._used.setdefault((period, event.agent, ""), Used())
            if event.job is not None:
                yield self._used.setdefault((period, event.agent, event.job), Used())


def reserved(event: SpendReserved) -> Amounts:
    """Return what a reservation holds."""
    return {"usd": counted("usd", event.usd), "tokens": event.tokens, "calls": 1}
