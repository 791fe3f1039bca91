"""Jobs in tests: definitions with defaults, times that read well, a log with one job on it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from schemas.schedule import JobDefined, Schedule
from schemas.subjects import Subject
from services.runtime.jobs.civil import civil, microseconds

JOB = Subject("acme", "atlas", "cron", "digest")
MINUTE = 60_000_000
NINE = microseconds(datetime(2026, 5, 1, 9, tzinfo=UTC))
"""A Friday, 09:00 UTC."""


def utc(text: str) -> int:
    """Return `2026-05-01 09:00` as microseconds, in UTC unless it says otherwise."""
    found = datetime.fromisoformat(text)
    return microseconds(found if found.tzinfo else found.replace(tzinfo=UTC))


def shown(at: int, zone: str = "UTC") -> str:
    """Return microseconds as the clocks of a zone show them, with the offset."""
    return civil(at, ZoneInfo(zone)).isoformat(sep=" ", timespec="minutes")


def minutely(**fields) -> JobDefined:
    """Return a job that is due every minute from `NINE` on."""
    fields.setdefault("effective_at", NINE)
    schedule = Schedule(every_s=60, anchor_at=NINE)
    return JobDefined(**{"schedule": schedule, "prompt": "look", **fields})


def days(start: str, count: int) -> tuple[int, int]:
    """Return a window of whole UTC days."""
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    return microseconds(begin) - 1, microseconds(begin + timedelta(days=count)) - 1
