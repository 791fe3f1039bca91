"""What the interface tells about a conversation, as far as we look at it."""

from collections.abc import Iterable, Iterator

import msgspec


class Person(msgspec.Struct, frozen=True):
    """Who said something."""

    id: str = ""
    name: str = ""


class File(msgspec.Struct, frozen=True):
    """A file that was sent."""

    name: str
    bytes: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was said or happened; what does not apply is empty."""

    seq: int = 0
    at: int = 0
    """UTC microseconds."""
    event_id: str = ""
    text: str = ""
    author: Person | None = None
    message_id: str | None = None
    turn_id: str = ""
    run_id: str = ""
    outcome: str | None = None
    reason: str = ""
    interactive: bool = False
    file: File | None = None
    turn: str = ""
    """The turn of a delta."""
    reset: bool = False
    """Of a delta: what came before is void."""


class Event(msgspec.Struct, frozen=True):
    """One event of the stream."""

    name: str
    """`message`, `reply`, `delta`, `settled`, …"""
    told: Told
    seq: int | None = None
    """Where to come back to; None for what is not recorded."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """The turn that is open."""

    turn_id: str
    started_at: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A branch or a worker that has not ended."""

    run_id: str
    kind: str
    task: str
    started_at: int
    waiting: bool = False
    status: str | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How a conversation stands."""

    seq: int
    settled: bool
    turn: Turn | None = None
    runs: list[Run] = []


class Said(Told, frozen=True, kw_only=True):
    """One line of the past."""

    role: str


class Page(msgspec.Struct, frozen=True):
    """Lines of the past, oldest first."""

    items: list[Said]


_DECODE = msgspec.json.Decoder(Told).decode


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a stream; what is not whole at its end is left out."""
    name, seq, data = "message", None, list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(name, _DECODE("\n".join(data)), seq)
            name, seq, data = "message", None, []
        elif field == "event":
            name = value
        elif field == "id":
            seq = int(value) if value.isdecimal() else None
        elif field == "data":
            data.append(value)
