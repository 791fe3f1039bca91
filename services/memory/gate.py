"""The gate that every memory passes: what is new, what is known, what is no longer true.

Decides:   memory_saved, memory_touched, memory_linked; or refuses
Never:     reads, awaits, mints ids
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.base import EventId, MemoryId, RunId
from schemas.memory import (
    MemoryEvent,
    MemoryKind,
    MemoryLinked,
    MemorySaved,
    MemoryTouched,
    Relation as Edge,
    Replaced,
    Scope,
)
from services.errors import Rejected
from services.memory.junk import Heard, refusal
from services.memory.relation import HAPPENINGS, Relation, relation

CONTRADICTED: Final = 0.9  # weight of an edge to what is no longer true
CORRECTED: Final = 1.0


class NotWorthKeeping(Rejected):
    """The text is nothing to remember."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be worth keeping, and where it comes from."""

    memory_id: MemoryId
    kind: MemoryKind
    text: str
    importance: float
    scope: Scope
    person: str | None = None
    conversation: str | None = None
    source: EventId | None = None
    run_id: RunId | None = None
    said_at: int | None = None
    """When it was said, UTC microseconds; None for just now."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A valid memory of the candidate's scope that may be about the same."""

    memory_id: MemoryId
    kind: MemoryKind
    text: str
    importance: float = 0.5
    cosine: float | None = None
    """Similarity to the candidate by meaning, where there is an embedder."""
    since: int = 0
    """When it began to be true, UTC microseconds; 0 where that is not known."""


def decide(
    candidate: Candidate,
    neighbours: Sequence[Neighbour],
    heard: Heard | None = None,
    gone: Sequence[Neighbour] = (),
) -> tuple[MemoryEvent, ...]:
    """Return what happens to memory; the first event is about the candidate.

    Args:
        candidate: What somebody wants to save.
        neighbours: What is remembered, best first.
        heard: What the run that saves was shown; None for a person, who may save anything.
        gone: What was forgotten or replaced after the candidate had been said.

    Raises:
        NotWorthKeeping: says why.
    """
    if heard is not None and (why := refusal(candidate.text, candidate.kind, heard)):
        raise NotWorthKeeping(why)
    related = [(neighbour, _relation(candidate, neighbour)) for neighbour in neighbours]
    known = [one for one, how in related if how == "same"] or [
        one for one, how in related if how == "covered"
    ]
    untrue = [one for one, how in related if how == "contradicts"]
    if why := _outdated(candidate, untrue, gone):
        raise NotWorthKeeping(why)
    if known and not untrue:
        return (_touched(candidate, known[0]),)
    said_again = [one for one, how in related if how in {"same", "covered", "covers", "reworded"}]
    replaces = (
        *(Replaced(memory_id=one.memory_id, why="duplicate") for one in said_again),
        *(Replaced(memory_id=one.memory_id, why="contradiction") for one in untrue),
    )
    importance = max(candidate.importance, *(one.importance for one in said_again), 0.0)
    return (
        _saved(candidate, replaces, importance),
        *(_linked(candidate, one, "contradicts", CONTRADICTED) for one in untrue),
    )


def _outdated(
    candidate: Candidate, untrue: Sequence[Neighbour], gone: Sequence[Neighbour]
) -> str | None:
    """Return why what was said a while ago does not hold any more, or None."""
    said_at = candidate.said_at
    if said_at is None:
        return None
    if newer := next((one for one in untrue if one.since > said_at), None):
        return f"It was said before {newer.memory_id}, which says otherwise and holds."
    if any(_relation(candidate, one) in {"same", "covered", "reworded"} for one in gone):
        return "It was forgotten, or something newer took its place, after it had been said."
    return None


def correct(
    candidate: Candidate, wrong: Neighbour, neighbours: Sequence[Neighbour]
) -> tuple[MemoryEvent, ...]:
    """Return what happens when a person says that `wrong` is wrong, and how it is right.

    Others that say the same as the correction, or as what was wrong, are replaced with it.
    """
    replaces = [Replaced(memory_id=wrong.memory_id, why="correction")]
    for one in neighbours:
        if one.memory_id == wrong.memory_id:
            continue
        if relation(one.text, wrong.text, kind=one.kind) in {"same", "covered"}:
            replaces.append(Replaced(memory_id=one.memory_id, why="correction"))
        elif _relation(candidate, one) in {"same", "covered", "covers"}:
            replaces.append(Replaced(memory_id=one.memory_id, why="duplicate"))
    return (
        _saved(candidate, tuple(replaces), max(candidate.importance, wrong.importance)),
        _linked(candidate, wrong, "updates", CORRECTED),
    )


def _relation(candidate: Candidate, neighbour: Neighbour) -> Relation:
    """Return how the candidate stands to a neighbour, given what kinds of memory they are."""
    how = relation(candidate.text, neighbour.text, kind=candidate.kind, cosine=neighbour.cosine)
    if how == "same" or candidate.kind == neighbour.kind:
        return how
    passes = {candidate.kind, neighbour.kind} & {*HAPPENINGS, "todo"}
    return "contradicts" if how == "contradicts" and not passes else "other"


def _saved(candidate: Candidate, replaces: tuple[Replaced, ...], importance: float) -> MemorySaved:
    return MemorySaved(
        memory_id=candidate.memory_id,
        kind=candidate.kind,
        text=candidate.text,
        importance=importance,
        scope=candidate.scope,
        person=candidate.person,
        conversation=candidate.conversation,
        source=candidate.source,
        run_id=candidate.run_id,
        replaces=replaces,
        valid_from=candidate.said_at,
    )


def _touched(candidate: Candidate, known: Neighbour) -> MemoryTouched:
    return MemoryTouched(
        memory_id=known.memory_id,
        person=candidate.person,
        conversation=candidate.conversation,
        source=candidate.source,
        run_id=candidate.run_id,
    )


def _linked(candidate: Candidate, other: Neighbour, how: Edge, weight: float) -> MemoryLinked:
    return MemoryLinked(
        memory_id=candidate.memory_id, to=other.memory_id, relation=how, weight=weight
    )
