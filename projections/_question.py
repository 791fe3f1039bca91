"""What a question says besides its words, read without any model: a phrase, a time.

Names and stop words need nothing here: the search index has the speaker's name among a memory's
words, and leaves stop words out. `docs/recall.md` says what was measured to help.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

QUOTED: Final = re.compile(r'"([^"]{2,200})"|“([^”]{2,200})”|„([^“]{2,200})“|«([^»]{2,200})»')
MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
_MONTH: Final = "|".join(MONTHS)
DAY: Final = re.compile(
    rf"\b(?P<y1>\d{{4}})-(?P<m1>\d\d)-(?P<d1>\d\d)\b"
    rf"|\b(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<m2>{_MONTH}),? (?P<y2>\d{{4}})\b"
    rf"|\b(?P<m3>{_MONTH}) (?P<d3>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y3>\d{{4}})\b"
)
MONTH: Final = re.compile(rf"\b(?P<month>{_MONTH}),?(?: of)? (?P<year>\d{{4}})\b")
RELATIVE: Final = re.compile(r"\b(today|yesterday|this week|last week|this month|last month)\b")


def phrases(query: str) -> list[str]:
    """Return what stands in quotation marks."""
    return [next(filter(None, found)) for found in QUOTED.findall(query)]


def spoken_of(query: str, now: int) -> tuple[int, int] | None:
    """Return the time that a query speaks of, from and until, UTC microseconds; or None.

    Args:
        query: In English.
        now: UTC microseconds; what yesterday is follows from it.
    """
    text = query.lower()
    try:
        if found := DAY.search(text):
            start = _day(found)
            return _span(start, start + timedelta(days=1))
        if found := MONTH.search(text):
            start = _date(int(found["year"]), MONTHS.index(found["month"]) + 1, 1)
            return _span(start, _next_month(start))
        if found := RELATIVE.search(text):
            return _relative(found[1], now)
    except (ValueError, OverflowError):  # the thirty-first of February
        return None
    return None


def _day(found: re.Match[str]) -> datetime:
    for number in "123":
        if year := found[f"y{number}"]:
            month = found[f"m{number}"]
            which = MONTHS.index(month) + 1 if month in MONTHS else int(month)
            return _date(int(year), which, int(found[f"d{number}"]))
    raise ValueError(found[0])


def _relative(words: str, now: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(now / 1_000_000, UTC)
    today = _date(moment.year, moment.month, moment.day)
    monday = today - timedelta(days=today.weekday())
    first = today.replace(day=1)
    match words:
        case "today":
            return _span(today, today + timedelta(days=1))
        case "yesterday":
            return _span(today - timedelta(days=1), today)
        case "this week":
            return _span(monday, monday + timedelta(days=7))
        case "last week":
            return _span(monday - timedelta(days=7), monday)
        case "this month":
            return _span(first, _next_month(first))
        case _:
            return _span((first - timedelta(days=1)).replace(day=1), first)


def _date(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=32)).replace(day=1)


def _span(start: datetime, end: datetime) -> tuple[int, int]:
    return round(start.timestamp() * 1e6), round(end.timestamp() * 1e6)
