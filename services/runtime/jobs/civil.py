"""From civil time to instants: nothing is due twice at the end of summer time, nothing is lost."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.runtime.jobs.cron import Cron, InvalidSchedule

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - civil time
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> ZoneInfo:
    """Return an IANA time zone.

    Raises:
        InvalidSchedule: there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidSchedule(f"{name!r} is no IANA time zone, such as Europe/Berlin") from error


def microseconds(moment: datetime) -> int:
    """Return an aware moment as UTC microseconds."""
    return (moment.astimezone(UTC).replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1)


def civil(at: int, zone: ZoneInfo) -> datetime:
    """Return UTC microseconds as civil time."""
    return (_EPOCH + timedelta(microseconds=at)).replace(tzinfo=UTC).astimezone(zone)


def instant(wall: datetime, zone: ZoneInfo) -> int:
    """Return when the clocks of a zone show `wall`; the next valid instant where they skip it.

    Where they show it twice, the first time counts.
    """
    first = wall.replace(tzinfo=zone, fold=0)
    at = microseconds(first)
    if civil(at, zone).replace(tzinfo=None, fold=0) == wall:
        return at
    return _change(microseconds(wall.replace(tzinfo=zone, fold=1)), at, zone)


def _change(before: int, after: int, zone: ZoneInfo) -> int:
    """Return the second, between two instants, at which the zone's offset changes."""
    offset = civil(before, zone).utcoffset()
    while after - before > SECOND:
        middle = (before + after) // (2 * SECOND) * SECOND
        if civil(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after // SECOND * SECOND


def times(cron: Cron, zone: ZoneInfo, after: int) -> Iterator[int]:
    """Yield the instants behind `after` that a cron expression selects, ascending.

    A civil time that is skipped when summer time begins is due at the next valid instant; one that
    comes twice when it ends is due the first time. An expression that is due in every hour follows
    the time that passes instead: nothing is made up for, and nothing is left out.
    """
    first = civil(after, zone).date() - timedelta(days=1)
    last = after
    for day in cron.days_from(first):
        for at in _of_day(cron, zone, day):
            if at > last:
                last = at
                yield at


def _of_day(cron: Cron, zone: ZoneInfo, day: date) -> Iterator[int]:
    midnight = datetime.combine(day, time())
    offset = midnight.replace(tzinfo=zone).utcoffset()
    if offset == (midnight + timedelta(days=1)).replace(tzinfo=zone).utcoffset():
        start = (day.toordinal() - _EPOCH_DAY) * DAY - (offset or timedelta()) // timedelta(
            microseconds=1
        )
        return (start + minute * MINUTE for minute in cron.minutes)
    walls = [midnight + timedelta(minutes=minute) for minute in cron.minutes]
    if not cron.every_hour:
        return iter(sorted({instant(wall, zone) for wall in walls}))
    shown = [
        (wall, microseconds(wall.replace(tzinfo=zone, fold=fold)))
        for wall in walls
        for fold in (0, 1)
    ]
    real = {at for wall, at in shown if civil(at, zone).replace(tzinfo=None, fold=0) == wall}
    return iter(sorted(real))
