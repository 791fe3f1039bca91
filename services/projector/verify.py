"""Compare the log with its archive, event by event, and restore one from the other.

A hole inside the log cannot be refilled in place: sequences only grow. What the log lost at its
end can be appended again, and what the archive lacks can be inserted.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Literal

import msgspec
import structlog

from projections import archive, positions
from projections.archive import Digest, Extent
from projections.registry import BY_NAME
from schemas.envelope import decode
from services.errors import Rejected
from services.projector.feed import batched
from services.projector.source import ArchiveSource, LogSource
from services.runtime.bodies import reference
from services.runtime.database import Conn, Pool, using
from services.runtime.event_log import EVERYTHING, Append, EventLog, Recorded
from services.runtime.recording import record

CHUNK: Final = 10_000  # sequences compared at a time
BATCH: Final = 500  # events appended at once

GapKind = Literal["missing_in_archive", "missing_in_log", "missing_in_both", "different"]

log = structlog.get_logger()


class CannotRestore(Rejected):
    """The log cannot be brought back to what the archive has."""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Neighbouring sequences with the same fault."""

    kind: GapKind
    first: int
    last: int

    @property
    def count(self) -> int:
        """Return how many sequences it covers."""
        return self.last - self.first + 1


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found."""

    log_last: int
    archive: Extent
    pending: int
    """Events at the log's end that the projector has not archived yet."""
    same: int
    gaps: list[Gap]
    """In order of sequence; none when all is well."""


async def verify(event_log: EventLog, pool: Pool) -> Verified:
    """Compare every event of the log with its copy, by subject and SHA-256.

    Raises:
        LogUnavailable, DatabaseUnavailable: one of them does not answer.
    """
    async with using(pool) as conn:
        extent = await archive.extent(conn)
        archived = (await positions.listing(conn))[archive.NAME].seq
    source = LogSource(event_log)
    end = await source.end()
    same, pending, gaps = 0, 0, list[Gap]()
    async for seqs, found in _slices(source, max(end, extent.last)):
        async with using(pool) as conn:
            digests = await archive.digests(conn, seqs[0] - 1, until=seqs[-1])
        copies = {each.seq: each for each in digests}
        for seq in seqs:
            kind = _fault(found.get(seq), copies.get(seq))
            if kind is None:
                same += 1
            elif kind == "missing_in_archive" and seq > archived:
                pending += 1
            else:
                _extend(gaps, kind, seq)
    return Verified(log_last=end, archive=extent, pending=pending, same=same, gaps=gaps)


async def _slices(
    source: LogSource, until: int
) -> AsyncIterator[tuple[range, dict[int, Recorded]]]:
    """Yield neighbouring ranges up to `until`, each with what the log has there."""
    after = 0
    async for events in batched(source.read(after=0, until=until), most=CHUNK):
        last = events[-1].seq
        yield range(after + 1, last + 1), {recorded.seq: recorded for recorded in events}
        after = last
    while after < until:
        last = min(after + CHUNK, until)
        yield range(after + 1, last + 1), {}
        after = last


def _fault(recorded: Recorded | None, copy: Digest | None) -> GapKind | None:
    if recorded is None:
        return "missing_in_both" if copy is None else "missing_in_log"
    if copy is None:
        return "missing_in_archive"
    digest = bytes.fromhex(reference(recorded.body).sha256)
    return None if (recorded.subject, digest) == (copy.subject, copy.digest) else "different"


def _extend(gaps: list[Gap], kind: GapKind, seq: int) -> None:
    if gaps and gaps[-1].kind == kind and gaps[-1].last == seq - 1:
        gaps[-1] = Gap(kind=kind, first=gaps[-1].first, last=seq)
    else:
        gaps.append(Gap(kind=kind, first=seq, last=seq))


async def restore_archive(event_log: EventLog, pool: Pool, gaps: Sequence[Gap]) -> int:
    """Copy what the archive lacks from the log; return how many events that were.

    An event that differs is replaced only where the archive's copy cannot be read and the log's
    can; otherwise nothing tells which of the two is right.
    """
    restored = 0
    for gap in gaps:
        if gap.kind not in {"missing_in_archive", "different"}:
            continue
        for after, until in _parts(gap):
            reading = event_log.read(EVERYTHING, after=after, until=until, fresh=True)
            events = [recorded async for recorded in reading]
            async with using(pool) as conn:
                if gap.kind == "different":
                    events = await _unreadable(conn, [e for e in events if e.problem is None])
                    seqs = [recorded.seq for recorded in events]
                    await conn.execute("DELETE FROM archive WHERE seq = ANY(%s)", (seqs,))
                await BY_NAME[archive.NAME].apply(conn, events)
            restored += len(events)
    log.info("archive.restored", events=restored)
    return restored


async def _unreadable(conn: Conn, events: Sequence[Recorded]) -> list[Recorded]:
    """Return those of the events whose copy in the archive cannot be read."""
    damaged = []
    for recorded in events:
        (copy,) = await archive.after(conn, recorded.seq - 1, until=recorded.seq, limit=1)
        if record(copy.seq, copy.subject, copy.body).problem is not None:
            damaged.append(recorded)
    return damaged


def _parts(gap: Gap) -> Iterator[tuple[int, int]]:
    for start in range(gap.first - 1, gap.last, CHUNK):
        yield start, min(start + CHUNK, gap.last)


async def restore_log(event_log: EventLog, pool: Pool) -> int:
    """Append again what the log lost at its end, at the sequences it had; return how many.

    Nothing else may append meanwhile: stop all services first.

    Raises:
        CannotRestore: the log is another one, the archive has holes there, or something else was
            appended; says where.
    """
    last = await event_log.last(EVERYTHING, fresh=True)
    end = last.seq if last is not None else 0
    if last is not None:
        await _check_same(pool, last)
    restored = 0
    async for page in _archived_after(pool, end):
        expected = range(end + restored + 1, end + restored + 1 + len(page))
        if [stored.seq for stored in page] != list(expected):
            raise CannotRestore(f"the archive has holes behind {expected[0] - 1}")
        seq = await event_log.append_batch([_again(stored) for stored in page])
        if seq != page[-1].seq:
            raise CannotRestore(
                f"event {page[-1].seq} became {seq}: something else was appended meanwhile; "
                "rebuild every projection, the archive included"
            )
        restored += len(page)
    log.info("log.restored", events=restored)
    return restored


async def _check_same(pool: Pool, last: Recorded) -> None:
    """Make sure that what the archive has goes on from where the log ends."""
    async with using(pool) as conn:
        copies = await archive.digests(conn, last.seq - 1, until=last.seq)
    if any(_fault(last, copy) for copy in copies):
        raise CannotRestore(
            f"event {last.seq} of the log is another than the archive has there: the log was begun "
            "anew. Stop all services, `penstock export` what it has, delete the stream EVENTS, "
            "repair it, and import that"
        )


def _again(stored: archive.Stored) -> Append:
    try:
        return Append(stored.subject, decode(stored.body))
    except msgspec.DecodeError as error:
        raise CannotRestore(f"event {stored.seq} was damaged when it was archived") from error


async def _archived_after(pool: Pool, seq: int) -> AsyncIterator[list[archive.Stored]]:
    last = await ArchiveSource(pool).end()
    while seq < last:
        async with using(pool) as conn:
            page = await archive.after(conn, seq, until=last, limit=BATCH)
        yield page
        seq = page[-1].seq
