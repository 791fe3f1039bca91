"""Five cron fields as sets, and which civil times they select. croniter reads the fields only.

It is not asked for times: around a change of the clocks it gives some twice and leaves some out.
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from croniter import CroniterError, croniter  # type: ignore[import-untyped]  # it has no stubs

from services.errors import Rejected

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
LONGEST: Final = 1_000  # characters
HORIZON_DAYS: Final = 40 * 366  # a 29th of February on a given weekday comes at least this often

_NUMBER: Final = r"(?:\d{1,2})"
_MONTH: Final = r"(?:\d{1,2}|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_WEEKDAY: Final = r"(?:[0-7]|sun|mon|tue|wed|thu|fri|sat)"


def _item(value: str, *more: str) -> re.Pattern[str]:
    plain = rf"(?:\*|{value}-{value}|{value})(?:/[1-9]\d?)?"
    return re.compile("|".join((plain, *more)))


_ITEMS: Final = (
    _item(_NUMBER),
    _item(_NUMBER),
    _item(_NUMBER, "l", r"\?"),
    _item(_MONTH),
    _item(_WEEKDAY, rf"{_WEEKDAY}#[1-5]", rf"l{_WEEKDAY}", r"\?"),
)


class InvalidSchedule(Rejected):
    """The schedule cannot be honoured as it is written."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    minutes: tuple[int, ...]
    """Minutes of the day, ascending."""
    every_hour: bool
    """It is due in every hour: it follows the time that passes, not the clock on the wall."""
    months: frozenset[int]
    days: frozenset[int] | None
    """Days of the month; None for all."""
    last_day: bool
    weekdays: frozenset[int] | None
    """0 for Sunday; None for all."""
    nth: dict[int, frozenset[int]]
    """Weekdays that count only as the n-th of the month; 0 for the last."""

    def days_from(self, first: date) -> Iterator[date]:
        """Yield the days that it selects, from `first` on, for as long as any can come."""
        day, seen = first, 0
        while seen < HORIZON_DAYS and day.year < date.max.year:
            if day.month not in self.months:
                following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                seen += (following - day).days
                day = following
                continue
            if self._selects(day):
                yield day
                seen = 0
            day += timedelta(days=1)
            seen += 1

    def _selects(self, day: date) -> bool:
        """Tell whether the day is meant: by either field when both are restricted, as in cron."""
        if self.days is None and not self.last_day:
            return self.weekdays is None or self._on_weekday(day)
        by_day = day.day in (self.days or ()) or (self.last_day and day.day == _length(day))
        return by_day or (self.weekdays is not None and self._on_weekday(day))

    def _on_weekday(self, day: date) -> bool:
        weekday = day.isoweekday() % 7
        if self.weekdays is None or weekday not in self.weekdays:
            return False
        wanted = self.nth.get(weekday)
        if wanted is None:
            return True
        return (day.day + 6) // 7 in wanted or (0 in wanted and day.day > _length(day) - 7)


def parse(expression: str) -> Cron:
    """Return the parsed expression.

    Raises:
        InvalidSchedule: says what cannot be honoured.
    """
    if len(expression) > LONGEST:
        raise InvalidSchedule(f"a cron expression has at most {LONGEST:,} characters")
    said = " ".join(expression.lower().split())
    fields = ALIASES.get(said, said).split()
    if said.startswith("@") and said not in ALIASES:
        raise InvalidSchedule(f"cron {expression!r}: there are {', '.join(ALIASES)}")
    if len(fields) != len(FIELDS):
        raise InvalidSchedule(
            f"cron {expression!r} has {len(fields)} fields; it needs 5: {', '.join(FIELDS)}"
        )
    for name, text, item in zip(FIELDS, fields, _ITEMS, strict=True):
        for part in text.split(","):
            if not item.fullmatch(part):
                raise InvalidSchedule(f"cron {expression!r}: {part!r} is no {name} that we honour")
    try:
        (minutes, hours, days, months, weekdays), nth = croniter.expand(" ".join(fields))
    except CroniterError as error:
        raise InvalidSchedule(f"cron {expression!r}: {error}") from error
    hour_set, minute_set = _numbers(hours, range(24)), _numbers(minutes, range(60))
    cron = Cron(
        minutes=tuple(60 * hour + minute for hour in hour_set for minute in minute_set),
        every_hour=len(hour_set) == 24,
        months=frozenset(_numbers(months, range(1, 13))),
        days=None if "*" in days else frozenset(d for d in days if isinstance(d, int)),
        last_day="l" in days,
        weekdays=None if "*" in weekdays else frozenset(d for d in weekdays if isinstance(d, int)),
        nth={day: frozenset(0 if n == "l" else int(n) for n in ns) for day, ns in nth.items()},
    )
    if next(cron.days_from(date(2000, 1, 1)), None) is None:
        raise InvalidSchedule(f"cron {expression!r} selects no day that ever comes")
    return cron


def _numbers(field: list[int | str], every: range) -> list[int]:
    return list(every) if "*" in field else sorted(n for n in field if isinstance(n, int))


def _length(day: date) -> int:
    return monthrange(day.year, day.month)[1]
