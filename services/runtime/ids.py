"""The only minter of ids.

New ids are UUIDv7, so they sort by time; derived ids are UUIDv5 of their cause, so a step that runs
twice names the same event twice.
"""

import os
import time
from uuid import UUID, uuid5

from schemas.base import EventId, RunId

_NAMESPACE = UUID(
    "6f2f0f0e-4d0b-5c3a-9a51-0b7f5e0c7d11"
)  # every derived id hangs on it: never change


def new() -> str:
    """Return a new UUIDv7 in its canonical text form."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | (random & (1 << 62) - 1)
    return str(UUID(int=value))


def event_id() -> EventId:
    """Return the id of a new event."""
    return EventId(new())


def derived(*parts: str) -> EventId:
    """Return the id that these parts always have, for events that a retry must not double."""
    return EventId(str(uuid5(_NAMESPACE, "\x1f".join(parts))))


def run_id(*parts: str) -> RunId:
    """Return a run's id: derived from `parts` when given, else new. 26 characters fit a subject."""
    return RunId(derived(*parts) if parts else new())


def owner(service: str) -> str:
    """Return a name for this process's ownership of runs, unique in time and over replicas."""
    return f"{service}-{os.uname().nodename}-{os.getpid()}-{os.urandom(3).hex()}"
