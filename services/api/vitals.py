"""How the parts are that everything stands on: asked for, never remembered."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import msgspec

from projections import positions, runs
from projections.positions import Position
from projections.registry import BY_NAME
from projections.runs import OpenRuns
from services.api.reading import any_tenant
from services.errors import ServiceError
from services.runtime.budgets.standing import Standing
from services.runtime.event_log import EVERYTHING
from services.runtime.process import Process

PATIENCE_S: Final = 2.0  # a part that takes longer is as good as away
MOST_BEHIND: Final = 10_000  # events; a projector clears them in a second or has stopped

T = TypeVar("T")


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that has to be well."""

    name: Literal["log", "database", "projector"]
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the parts answered."""

    end: int | None
    """Last sequence of the log; None: it does not answer."""
    positions: dict[str, Position] | None
    """Of the read models; None: the database does not answer."""
    open_runs: list[OpenRuns]
    """Runs of every tenant that have not ended; empty where the database does not answer."""
    budgets: dict[str, list[Standing]]
    """By tenant; empty where there is none, or the log does not answer."""

    @property
    def lags(self) -> dict[str, int] | None:
        """Return how many events each read model is behind; None where that is not known."""
        if self.positions is None or self.end is None:
            return None
        return {
            name: max(0, self.end - self.positions[name].seq)
            for name in BY_NAME
            if name in self.positions
        }

    def checks(self) -> list[Check]:
        """Return what has to be well for this process to serve."""
        end = "does not answer" if self.end is None else f"answers; {self.end:,} events"
        database = "does not answer" if self.positions is None else "answers"
        return [
            Check(name="log", ok=self.end is not None, detail=end),
            Check(name="database", ok=self.positions is not None, detail=database),
            self._projector(),
        ]

    def _projector(self) -> Check:
        lags = self.lags
        if lags is None:
            return Check(name="projector", ok=False, detail="cannot be known now")
        if missing := sorted(BY_NAME.keys() - lags):
            detail = f"has not begun with {', '.join(missing)}"
            return Check(name="projector", ok=False, detail=detail)
        lag = max(lags.values())
        detail = f"{lag:,} events behind; {MOST_BEHIND:,} are allowed"
        return Check(name="projector", ok=lag <= MOST_BEHIND, detail=detail)


async def ask(process: Process) -> Vitals:
    """Ask the log and the database, at once, for at most `PATIENCE_S`."""
    end, database, budgets = await asyncio.gather(
        _patiently(_end(process)), _patiently(_read(process)), _patiently(_budgets(process))
    )
    found, open_runs = database or (None, [])
    return Vitals(end, found, open_runs, budgets or {})


async def _patiently(answer: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await answer
    except (ServiceError, TimeoutError):
        return None


async def _end(process: Process) -> int:
    last = await process.log.last(EVERYTHING, fresh=True)
    return last.seq if last else 0


async def _budgets(process: Process) -> dict[str, list[Standing]]:
    if process.budgets is None:
        return {}
    return {it: await process.budgets.standings(it) for it in process.budgets.tenants}


async def _read(process: Process) -> tuple[dict[str, Position], list[OpenRuns]]:
    async with any_tenant(process.pool) as conn:
        return await positions.listing(conn), await runs.open_counts(conn)
