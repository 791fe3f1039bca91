"""Divide a passage into what has a vector of its own: a sentence, or some short ones.

A vector of a whole passage means a little of all that it says, and is near to no question; one of a
sentence is near to what asks for it. What is shown is the passage: docs/recall.md has the figures.
"""

import re
from collections.abc import Iterator
from typing import Final

SHORTEST: Final = 20  # characters; what is shorter says little alone, and goes with its neighbour
LONGEST: Final = 160  # characters: a sentence, far below what the models read at once
_END: Final = re.compile(
    r"[.!?…]['\")\]»”’]*\s+|[。！？]|\n\n+"  # noqa: RUF001 - of other scripts
)


def parts(text: str) -> list[str]:
    """Return the parts of a text in order: all of its words, white space as single spaces.

    One that says nothing is a part, too: without a vector it would be asked for again for ever.
    """
    found: list[str] = []
    current = ""
    for sentence in _sentences(text):
        if current and len(current) + 1 + len(sentence) > LONGEST:
            found.append(current)
            current = ""
        current = f"{current} {sentence}" if current else sentence
        if len(current) >= SHORTEST:
            found.append(current)
            current = ""
    if current and found and len(found[-1]) + 1 + len(current) <= LONGEST:
        found[-1] += f" {current}"
    elif current:
        found.append(current)
    return found or [text]


def _sentences(text: str) -> Iterator[str]:
    """Yield sentences, and pieces of those that are too long."""
    start = 0
    for end in [*(found.end() for found in _END.finditer(text)), len(text)]:
        sentence = " ".join(text[start:end].split())
        start = end
        while len(sentence) > LONGEST:
            border = sentence.rfind(" ", 0, LONGEST + 1)
            border = border if border > 0 else LONGEST
            yield sentence[:border]
            sentence = sentence[border:].lstrip()
        if sentence:
            yield sentence
