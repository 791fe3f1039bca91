"""A part of the log in memory, by subject and by id, with the bodies that it refers to."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

from schemas.base import BodyRef, EventId
from schemas.envelope import encode
from schemas.subjects import matches
from services.errors import Permanent
from services.projector.transfer import BodyLine, EventLine, checked, lines, parse_line
from services.runtime.bodies import TEXT, BodyStore, reference
from services.runtime.event_log import Recorded
from services.runtime.recording import record

_SEQ = attrgetter("seq")


class Recording:
    """What happened, in the order of the log."""

    def __init__(self, events: Iterable[Recorded], bodies: BodyStore) -> None:
        self.events = sorted(events, key=_SEQ)
        self.bodies = bodies
        self.by_id: dict[EventId, Recorded] = {}
        self._by_subject: dict[str, list[Recorded]] = {}
        for recorded in self.events:
            self.by_id[recorded.envelope.id] = recorded
            self._by_subject.setdefault(recorded.subject, []).append(recorded)

    def select(self, pattern: str, after: int, until: int) -> list[Recorded]:
        """Return what the pattern selects with `after` < sequence <= `until`."""
        if "*" not in pattern and ">" not in pattern:
            return _between(self._by_subject.get(pattern, []), after, until)
        return [
            recorded
            for recorded in _between(self.events, after, until)
            if matches(pattern, recorded.subject)
        ]

    def behind(self, subject: str, after: int) -> list[Recorded]:
        """Return a subject's events behind a sequence."""
        there = self._by_subject.get(subject, [])
        return there[bisect_right(there, after, key=_SEQ) :]

    def next(self, subject: str, after: int) -> Recorded | None:
        """Return a subject's first event behind a sequence, or None."""
        there = self._by_subject.get(subject, [])
        place = bisect_right(there, after, key=_SEQ)
        return there[place] if place < len(there) else None

    def newest(self, pattern: str, until: int) -> Recorded | None:
        """Return the last event that the pattern selects, up to a sequence, or None."""
        if "*" in pattern or ">" in pattern:
            found = self.select(pattern, 0, until)
            return found[-1] if found else None
        there = self._by_subject.get(pattern, [])
        place = bisect_right(there, until, key=_SEQ)
        return there[place - 1] if place else None


def _between(events: list[Recorded], after: int, until: int) -> list[Recorded]:
    return events[bisect_right(events, after, key=_SEQ) : bisect_right(events, until, key=_SEQ)]


class FileBodies:
    """The bodies of an export."""

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}

    async def put(self, body: bytes, *, media_type: str = TEXT) -> BodyRef:
        """Keep `body`."""
        ref = reference(body, media_type)
        self._bodies[ref.sha256] = body
        return ref

    async def get(self, ref: BodyRef) -> bytes:
        """Return the body.

        Raises:
            Permanent: the file does not have it.
        """
        if ref.sha256 not in self._bodies:
            raise Permanent(f"body {ref.sha256} is not in the file")
        return self._bodies[ref.sha256]


class Overlay:
    """Bodies that are read from a store and written to memory alone."""

    def __init__(self, below: BodyStore) -> None:
        self.missing: list[str] = []
        """Hashes of what was asked for and is nowhere."""
        self._below = below
        self._above = FileBodies()

    async def put(self, body: bytes, *, media_type: str = TEXT) -> BodyRef:
        """Keep `body` in memory."""
        return await self._above.put(body, media_type=media_type)

    async def get(self, ref: BodyRef) -> bytes:
        """Return the body, from wherever it is.

        Raises:
            Permanent: it is nowhere.
        """
        with suppress(Permanent):
            return await self._above.get(ref)
        try:
            return await self._below.get(ref)
        except Permanent:
            self.missing.append(ref.sha256)
            raise


async def of_file(path: Path) -> Recording:
    """Return what an export holds.

    Raises:
        InvalidFile: it is damaged, or no export.
    """
    checked(path)
    bodies, events = FileBodies(), []
    rest = lines(path)
    next(rest)
    for line in rest:
        match parse_line(line):
            case BodyLine() as body:
                await bodies.put(body.content(), media_type=body.body.media_type)
            case EventLine(seq=seq, subject=subject, event=envelope):
                events.append(record(seq, subject, encode(envelope)))
    return Recording(events, bodies)


async def of_log(read: Iterable[AsyncIterator[Recorded]], bodies: BodyStore) -> Recording:
    """Return what was read from a log."""
    return Recording([recorded async for events in _all(read) for recorded in events], bodies)


async def _all(read: Iterable[AsyncIterator[Recorded]]) -> AsyncIterator[list[Recorded]]:
    for events in read:
        yield [recorded async for recorded in events]
