"""Divide a text into passages whose borders depend on what stands at them, not on where they are.

A passage ends at the best border within reach: before a heading, else behind a paragraph, a line, a
sentence, a word. Among equals the one with the smallest hash of the characters before it wins, so
an edit moves the borders near it, and soon the old ones win again.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple
from zlib import crc32

from services.ingest.passage import LONGEST, LONGEST_HEADING, SHORTEST, Passage

LOOKED_AT: Final = 32  # characters before a border that its hash is made of
BORDERS: Final = (
    re.compile(r"\n\n+"),  # paragraphs
    re.compile(r"\n"),  # lines
    re.compile(r"[.!?…]['\")\]»”’]*\s+|[。！？]"),  # sentences  # noqa: RUF001 - of other scripts
    re.compile(r"\s+"),  # words
    re.compile(r"", re.DOTALL),  # anywhere
)


class Heading(NamedTuple):
    """Where a section begins."""

    at: int
    """Index of its first character, the heading's own text included."""
    level: int
    title: str


class Text(NamedTuple):
    """A text and its sections, in order."""

    text: str
    headings: Sequence[Heading] = ()


def passages(source: Text) -> Iterator[Passage]:
    """Yield the passages of a text, in order; none is empty.

    Args:
        source: Its lines end with a line feed; no blank line follows another.
    """
    text = source.text
    starts = [heading.at for heading in source.headings]
    paths = _paths(source.headings)
    start = 0
    while start < len(text):
        end = _end(text, start, starts)
        if piece := text[start:end].strip():
            lead = len(text[start:end]) - len(text[start:end].lstrip())
            section = bisect_left(starts, start + lead + 1) - 1
            heading = paths[section] if section >= 0 else ""
            digest = sha256(piece.encode()).hexdigest()
            yield Passage(sha256=digest, text=piece, heading=heading)
        start = end


def _end(text: str, start: int, starts: Sequence[int]) -> int:
    """Return where the passage that begins at `start` ends."""
    if len(text) - start <= LONGEST:
        return len(text)
    low, high = start + SHORTEST, start + LONGEST
    sections = starts[bisect_left(starts, low) : bisect_left(starts, high + 1)]
    if sections:
        return min(sections, key=lambda at: _hash(text, at))
    for border in BORDERS:
        ends = [found.end() for found in border.finditer(text, low, high)]
        if ends := [end for end in ends if low <= end <= high]:
            return min(ends, key=lambda at: _hash(text, at))
    return high


def _hash(text: str, at: int) -> int:
    return crc32(text[at - LOOKED_AT : at].encode())


def _paths(headings: Sequence[Heading]) -> list[str]:
    """Return for each section the headings above it and its own, outermost first."""
    paths, above = [], list[tuple[int, str]]()
    for _, level, title in headings:
        while above and above[-1][0] >= level:
            above.pop()
        above.append((level, title))
        path = " > ".join(title for _, title in above if title)
        paths.append(path if len(path) <= LONGEST_HEADING else "…" + path[1 - LONGEST_HEADING :])
    return paths
