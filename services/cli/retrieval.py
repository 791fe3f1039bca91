"""How well a search finds: the file of a retrieval set, and the figures of a ranking."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, quantiles
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.memory import MemoryKind
from services.errors import Rejected

APART: Final = 7_200_000_000  # microseconds; too far for memories to count as said together
BEGINNING: Final = 1_735_689_600_000_000  # 2025-01-01, of a set that names no times


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """One memory of a set."""

    id: Annotated[str, Meta(min_length=1)]
    text: Annotated[str, Meta(min_length=1)]
    at: str | float | None = None
    """A time in ISO 8601, or seconds since 1970."""
    person: str | None = None
    conversation: str | None = None
    """None: all of a set that names none were said in one; what has a time and was said within
    the hour stands together."""
    kind: MemoryKind = "fact"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One query of a set, and what it should find."""

    text: str
    relevant: Annotated[tuple[str, ...], Meta(min_length=1)]
    kind: str = ""
    """What sort of query it is, to tell the figures apart."""


class RetrievalSet(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a file: memories that are searched together."""

    memories: list[Remembered]
    queries: list[Asked]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How one way of searching did; latencies in milliseconds."""

    recall: float
    """Mean share of what is relevant that is among the first k."""
    mrr: float
    """Mean reciprocal rank of the first that is relevant; 0 where it is not among the first k."""
    p50_ms: float
    p95_ms: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one query found."""

    relevant: frozenset[str]
    found: tuple[str, ...]
    """The first k, best first."""
    ms: float
    kind: str = ""

    @property
    def recall(self) -> float:
        """Return the share of what is relevant that was found."""
        return len(self.relevant.intersection(self.found)) / len(self.relevant)

    @property
    def reciprocal_rank(self) -> float:
        """Return one over the rank of the first that is relevant, or 0."""
        return next((1 / rank for rank, id_ in enumerate(self.found, 1) if id_ in self.relevant), 0)


def sets(path: Path) -> Iterator[RetrievalSet]:
    """Yield the sets of a file.

    Raises:
        Rejected: the file cannot be read, or a line is not a set; says which.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line, type=RetrievalSet)
        except msgspec.DecodeError as error:
            raise Rejected(f"line {number} of {path}: {error}") from error
        _check(found, f"line {number} of {path}")
        yield found


def _check(found: RetrievalSet, where: str) -> None:
    known = {memory.id for memory in found.memories}
    if len(known) < len(found.memories):
        raise Rejected(f"{where}: two memories have the same id")
    for query in found.queries:
        if unknown := set(query.relevant) - known:
            raise Rejected(f"{where}: no memory {min(unknown)!r}, which {query.text!r} names")
    for memory in found.memories:
        if isinstance(memory.at, str):
            try:
                datetime.fromisoformat(memory.at)
            except ValueError as error:
                raise Rejected(f"{where}: memory {memory.id!r}: {error}") from error


def said_at(memory: Remembered, number: int) -> int:
    """Return when a memory was saved, UTC microseconds; without a time, beside no other."""
    match memory.at:
        case None:
            return BEGINNING + number * APART
        case str():
            at = datetime.fromisoformat(memory.at)
            return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6)
        case seconds:
            return round(seconds * 1e6)


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """Return what the outcomes come to; there is at least one."""
    times = [outcome.ms for outcome in outcomes]
    cuts = quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19
    return Figures(
        recall=fmean(outcome.recall for outcome in outcomes),
        mrr=fmean(outcome.reciprocal_rank for outcome in outcomes),
        p50_ms=cuts[9],
        p95_ms=cuts[18],
    )
