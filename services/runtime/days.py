"""Local days: where they begin and end, as UTC microseconds. Pure.

Days are counted on the calendar, never by adding 24 hours: where clocks change, a day has 23 or 25.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MICROSECONDS: Final = 1_000_000


def zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name.

    Raises:
        ValueError: no such zone is known on this machine.
    """
    if name == "UTC":
        return UTC  # known also where no zone data are installed
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone {name!r} is known here") from error


def is_zone(name: str) -> bool:
    """Tell whether there is such a time zone."""
    try:
        zone(name)
    except ValueError:
        return False
    return True


def day_of(at: int, where: tzinfo) -> date:
    """Return the local day of a moment."""
    return datetime.fromtimestamp(at / MICROSECONDS, UTC).astimezone(where).date()


def begin(day: date, where: tzinfo) -> int:
    """Return the first moment of a day, where midnight is skipped the first one after it."""
    midnight = datetime.combine(day, time(), tzinfo=where).astimezone(UTC)
    seconds = (midnight - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return seconds * MICROSECONDS


def after(day: date, days: int = 1) -> date:
    """Return the day so many days after this one."""
    return day + timedelta(days=days)


def clock(at: int, where: tzinfo) -> str:
    """Return the local time of a moment, to the minute."""
    return f"{datetime.fromtimestamp(at / MICROSECONDS, UTC).astimezone(where):%H:%M}"


def long(day: date) -> str:
    """Return a day as people read it, for example `Tuesday, 2026-11-24`."""
    return f"{day:%A}, {day.isoformat()}"
