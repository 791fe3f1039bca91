"""How all jobs stand, kept for the next start, which then reads no more than what came since.

Kept in parts, since no entry may be large. Each part has its own position: events that a job has
already folded change nothing, so parts that were kept at different moments go together.
Disposable: a part that is missing, of another shape or of another log means that all is read.
"""

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

import msgspec

from schemas.base import EventId
from services.runtime.behind import HistoryGone, check
from services.runtime.conversations import Snapshots, shape_of
from services.runtime.event_log import EventLog, Recorded
from services.runtime.jobs.job import Job
from services.scheduler.board import Board

PARTS: Final = 64
EVERY: Final = 20_000  # events; as many are read in half a second
SHAPE: Final = shape_of(Job)


class Part(msgspec.Struct, frozen=True):
    """Some of the jobs."""

    seq: int
    """Sequence up to which every event of theirs is folded."""
    subject: str
    """Of the event there, and its id: both are gone when the log is another."""
    id: EventId
    jobs: dict[str, Job]


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Part).decode


def _key(number: int) -> str:
    return f"scheduler.jobs.{SHAPE}.{number}"


def _number(subject: str) -> int:
    return sha256(subject.encode()).digest()[0] % PARTS


async def keep(board: Board, last: Recorded, snapshots: Snapshots) -> None:
    """Keep how the jobs stand.

    Args:
        board: The jobs.
        last: The newest event before which nothing is left to fold.
        snapshots: Where to.
    """
    parts: list[dict[str, Job]] = [{} for _ in range(PARTS)]
    for subject, job in board.jobs():
        parts[_number(subject)][subject] = job
    for number, jobs in enumerate(parts):
        part = Part(last.seq, last.subject, last.envelope.id, jobs)
        await snapshots.save(_key(number), _ENCODE(part))


async def kept(event_log: EventLog, snapshots: Snapshots) -> Board:
    """Return the jobs as they were kept; none where they were not, or on another log."""
    found = await asyncio.gather(*(snapshots.load(_key(number)) for number in range(PARTS)))
    try:
        parts = [_DECODE(part) for part in found if part is not None]
        if len(parts) < PARTS:
            return Board()
        for seq, subject, id_ in {(part.seq, part.subject, part.id) for part in parts}:
            await check(event_log, subject, seq, id_)
    except (msgspec.DecodeError, HistoryGone):
        return Board()
    return Board(dict(_jobs(parts)), min(part.seq for part in parts))


def _jobs(parts: list[Part]) -> Iterator[tuple[str, Job]]:
    for part in parts:
        yield from part.jobs.items()
