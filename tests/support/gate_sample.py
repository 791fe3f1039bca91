"""The labelled sample of candidate memories, what the gate makes of it, and the figures of that.

Every line of `tests/data/gate_sample.jsonl` is a candidate with what is remembered, recalled and
said before, and what it is: new, a duplicate, near (the same in other words, with `adds` where it
says more), a contradiction, or junk. The gate was built looking at every second line; the others
are held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from schemas.base import MemoryId
from schemas.memory import MemoryKind, MemorySaved
from services.memory.gate import Candidate, Neighbour, NotWorthKeeping, decide
from services.memory.junk import Heard

FILE = Path(__file__).parents[1] / "data" / "gate_sample.jsonl"

Class = Literal["new", "duplicate", "near", "contradiction", "junk"]
Outcome = Literal["saved", "replaces", "contradicts", "noted", "refused"]


class Old(msgspec.Struct, frozen=True):
    """Something that is remembered, of another kind than the candidate."""

    text: str
    kind: MemoryKind


class Line(msgspec.Struct, frozen=True, rename={"label": "class"}, forbid_unknown_fields=True):
    """One candidate."""

    label: Class
    text: str
    kind: MemoryKind
    known: tuple[str | Old, ...]
    why: Literal["restated", "system", "chatter", "recalled"] | None = None
    adds: bool = False
    recalled: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def olds(self) -> list[Old]:
        return [Old(one, self.kind) if isinstance(one, str) else one for one in self.known]

    @property
    def tells_something(self) -> bool:
        """Whether memory is poorer without it."""
        return self.label in {"new", "contradiction"} or self.adds


def lines() -> tuple[list[Line], list[Line]]:
    """Return the half that the gate was built with, and the half that was held out."""
    every = [msgspec.json.decode(line, type=Line) for line in FILE.read_bytes().splitlines()]
    return every[::2], every[1::2]


def outcome(line: Line, cosines: Sequence[float | None] = ()) -> Outcome:
    """Return what the gate makes of a candidate."""
    measured = [*cosines, *[None] * (len(line.known) - len(cosines))]
    neighbours = [
        Neighbour(MemoryId(f"m{number}"), old.kind, old.text, cosine=cosine)
        for number, (old, cosine) in enumerate(zip(line.olds, measured, strict=True))
    ]
    candidate = Candidate(MemoryId("new"), line.kind, line.text, 0.5, "agent")
    try:
        first = decide(candidate, neighbours, Heard(line.recalled, line.own, line.said))[0]
    except NotWorthKeeping:
        return "refused"
    if not isinstance(first, MemorySaved):
        return "noted"
    whys = {one.why for one in first.replaces}
    return "contradicts" if "contradiction" in whys else "replaces" if whys else "saved"


@dataclass(frozen=True)
class Figures:
    """What became of a sample."""

    candidates: int
    right: int
    """Candidates of which the gate made what their class says."""
    junk: int
    """Memories that are valid afterwards and should not be: what was saved for nothing, and what is
    still there beside what repeats or contradicts it."""
    saved: int
    """Memories that were added, or stayed beside what should have replaced them."""
    lost: int
    """What is told nowhere any more: candidates that were not saved, memories wrongly replaced."""
    telling: int
    """Candidates that tell something."""

    def row(self, name: str) -> str:
        """Return the figures as a row of a table in markdown."""
        junk = f"{self.junk / self.saved:.1%} ({self.junk} of {self.saved})"
        lost = f"{self.lost / self.telling:.1%} ({self.lost} of {self.telling})"
        return f"| {name} | {self.candidates} | {self.right} | {junk} | {lost} |"


RIGHT: dict[Class, set[Outcome]] = {
    "new": {"saved"},
    "duplicate": {"noted"},
    "near": {"noted", "replaces"},
    "contradiction": {"contradicts"},
    "junk": {"refused"},
}


def is_right(line: Line, made: Outcome) -> bool:
    """Tell whether the gate did as the class says."""
    return made in ({"replaces"} if line.adds else RIGHT[line.label])


def figures(told: Sequence[tuple[Line, Outcome]]) -> Figures:
    """Return the figures of what became of a sample."""
    added = [(line, made) for line, made in told if made in {"saved", "replaces", "contradicts"}]
    junk = sum(line.label != "new" and made == "saved" for line, made in added)
    junk += sum(line.label in {"junk", "duplicate"} and made != "saved" for line, made in added)
    unsaved = sum(line.tells_something and made in {"noted", "refused"} for line, made in told)
    replaced = sum(
        line.label == "new" and made in {"replaces", "contradicts"} for line, made in told
    )
    return Figures(
        candidates=len(told),
        right=sum(is_right(line, made) for line, made in told),
        junk=junk,
        saved=len(added),
        lost=unsaved + replaced,
        telling=sum(line.tells_something for line, _ in told),
    )


def ungated(sample: Sequence[Line]) -> Figures:
    """Return the figures where everything is saved."""
    return figures([(line, "saved") for line in sample])
