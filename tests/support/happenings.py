"""Things that happened, as the cortex reads them."""

from datetime import UTC, datetime

from projections.activity import Happening

NOW = round(datetime(2026, 11, 24, 15, 30, tzinfo=UTC).timestamp()) * 1_000_000
HOUR = 3_600_000_000


def happening(text="x", kind="memory", *, hours_ago=1.0, ref="m1", **fields) -> Happening:
    usual = {
        "seq": 1,
        "adapter": None if kind == "memory" else "discord",
        "conversation": None if kind == "memory" else "ops",
        "who": None,
        "outcome": None,
        "memory_kind": "fact" if kind == "memory" else None,
        "importance": 0.5 if kind == "memory" else None,
    }
    at = NOW - round(hours_ago * HOUR)
    return Happening(ref=ref, at=at, kind=kind, text=text, **{**usual, **fields})
