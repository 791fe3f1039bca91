"""What the rules do in a compaction: pick lines that look as if they mattered."""

import re
from collections.abc import Sequence
from typing import Final

from services.runtime.model import Message
from services.runtime.offline.step import Step
from services.runtime.text import shorten

CAVEAT: Final = "Chosen by rules from what was said, not summarised:"
PICKED: Final = 12  # lines of an extract
LINE_CHARS: Final = 160

_LINE: Final = re.compile(r"^\[\d\d\d\d-\d\d-\d\d \d\d:\d\d\] (?P<said>.+)$", re.MULTILINE)
_SIGNS: Final = (
    (3, r"\b(?:decided?|agreed|remember|deadline|release|must|never|always|important)\b"),
    (2, r"\b(?:is|are|was|will be|means|because)\b"),
    (2, r"\d"),
    (1, r"\?"),
    (1, r"\b(?:I|we|my|our)\b"),
)
"""What makes a line worth keeping, with its weight."""


def decide(messages: Sequence[Message]) -> Step:
    """Return a title and an extract of the transcript that is shown last."""
    shown = messages[-1].content if messages else ""
    lines = [found["said"] for found in _LINE.finditer(shown)]
    if not lines:
        return Step(text=f"TITLE: Nothing to tell\n{CAVEAT}\nNothing was said.")
    best = sorted(range(len(lines)), key=lambda at: (-_weight(lines[at]), at))[:PICKED]
    picked = [f"- {shorten(lines[at], LINE_CHARS)}" for at in sorted(best)]
    title = shorten(lines[best[0]], 70)
    return Step(text="\n".join([f"TITLE: {title}", CAVEAT, *picked]))


def _weight(line: str) -> float:
    signs = sum(weight for weight, sign in _SIGNS if re.search(sign, line, re.IGNORECASE))
    return signs + min(len(line), LINE_CHARS) / LINE_CHARS
