"""What a benchmark found, beside its goal and beside a bare loop that was measured with it."""

from collections.abc import Sequence
from statistics import median, quantiles

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    bare: float | None = None
    """The same of a loop without Penstock, in the same run."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Return how many times the bare loop's value it is."""
        return self.value / self.bare if self.bare else None

    @property
    def met(self) -> bool | None:
        """Return whether the goal is met; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None

    def entry(self) -> dict[str, object]:
        """Return it as it is written to JSON."""
        return msgspec.to_builtins(self) | {"ratio": self.ratio, "met": self.met}


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value below which `percent` of the others are."""
    return median(values) if percent == 50 else quantiles(values, n=100)[percent - 1]


def table(figures: Sequence[Figure]) -> str:
    """Return figures as lines for a terminal."""
    rows = [("", "figure", "goal", "", "bare", "ratio", "")]
    rows += [_row(figure) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in {0, 6} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(figure: Figure) -> tuple[str, ...]:
    goal = ""
    if figure.at_most is not None:
        goal = f"≤ {_number(figure.at_most)}"
    elif figure.at_least is not None:
        goal = f"≥ {_number(figure.at_least)}"
    return (
        figure.name,
        f"{_number(figure.value)} {figure.unit}",
        goal,
        {True: "met", False: "MISSED", None: ""}[figure.met],
        "" if figure.bare is None else _number(figure.bare),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        figure.note,
    )


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
