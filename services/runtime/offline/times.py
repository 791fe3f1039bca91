"""When something is to be done, as people say it in English; for the rules behind `schedule`."""

import re
from collections.abc import Callable
from functools import cache
from typing import Final
from zoneinfo import available_timezones

DAYS: Final = {
    "sunday": 0,
    "monday": 1,
    "tuesday": 2,
    "wednesday": 3,
    "thursday": 4,
    "friday": 5,
    "saturday": 6,
}
NUMBERS: Final = {"two": 2, "three": 3, "five": 5, "ten": 10, "fifteen": 15, "thirty": 30}
_UNIT: Final = r"(?P<unit>second|sec|minute|min|hour|hr|day|week|[smhdw])s?\b"
_TIME: Final = (
    r"(?:at )?(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))?\s*(?P<half>am|pm|o'?clock|h)?\b"
    r"|(?:at )?(?P<word>noon|midnight)"
)
_DAY: Final = "|".join(DAYS)
_WHEN: Final = (
    rf"every (?P<number>\d+|{'|'.join(NUMBERS)}) ?{_UNIT}"
    r"|(?:every (?P<one>second|minute|hour)|(?P<hourly>hourly))"
    rf"|(?P<days>(?:every|each) (?:day|morning|evening)|daily|(?:on |every )?(?:week|work)days?"
    rf"|(?:on weekends|every weekend)|(?:every|each|on) (?:{_DAY})s?)"
    rf"(?:,? (?:{_TIME}))?"
)
_ZONE: Final = r"(?: in (?P<city>(?-i:[A-Z][\w/]+(?: [A-Z]\w+)?))(?: time)?)?"
WHEN: Final = rf"(?:{_WHEN}){_ZONE}"
_FOUND: Final = re.compile(WHEN, re.IGNORECASE)
_USUAL: Final = {"every evening": 18, "each evening": 18}  # hours; 9 for everything else


def schedule_of(words: str) -> dict[str, str] | None:
    """Return `cron` or `every`, and `zone` where one is named; None when it says no such thing."""
    found = _FOUND.fullmatch(words.strip(" ,:."))
    if found is None:
        return None
    said = found.groupdict()
    when = _interval(said) or _days(said)
    if when is None:
        return None
    if said["city"]:
        zone = zone_named(said["city"])
        if zone is None:
            return None
        when["zone"] = zone
    return when


def _interval(said: dict[str, str | None]) -> dict[str, str] | None:
    if said["number"]:
        number = NUMBERS.get(said["number"].lower()) or int(said["number"])
        return {"every": f"{number}{(said['unit'] or 'minute')[0].lower()}"}
    if said["hourly"]:
        return {"every": "1h"}
    return {"every": f"1{said['one'][0].lower()}"} if said["one"] else None


def _days(said: dict[str, str | None]) -> dict[str, str] | None:
    days = (said["days"] or "").lower()
    if not days:
        return None
    hour, minute = int(said["hour"] or _USUAL.get(days, 9)), int(said["minute"] or 0)
    half = (said["half"] or "").lower()
    if said["word"]:
        hour = 12 if said["word"].lower() == "noon" else 0
    elif half == "pm" and hour < 12:
        hour += 12
    elif half == "am" and hour == 12:
        hour = 0
    if hour > 23 or minute > 59:
        return None
    return {"cron": f"{minute} {hour} * * {_weekdays(days)}"}


def _weekdays(days: str) -> str:
    if "weekend" in days:
        return "0,6"
    if "weekday" in days or "workday" in days:
        return "1-5"
    named = next((number for name, number in DAYS.items() if name in days), None)
    return "*" if named is None else str(named)


@cache
def zone_named(city: str) -> str | None:
    """Return the time zone of a city, or the one of this very name; None when there is none."""
    wanted = city.replace(" ", "_").lower()
    rank: Callable[[str], tuple[int, str]] = lambda name: (name.count("/"), name)  # noqa: E731
    for name in sorted(available_timezones(), key=rank):
        if wanted in {name.lower(), name.lower().rpartition("/")[2]}:
            return name
    return None
