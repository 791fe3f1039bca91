"""Text files: their characters, their line breaks, and the headings of their mark-up."""

import re
from pathlib import PurePosixPath
from typing import Final

from services.ingest.chunking import Heading, Text
from services.ingest.passage import Unreadable
from services.runtime.text import clean

BINARY: Final = Unreadable(
    reason="binary",
    detail="it is not a text: hand in text, Markdown, HTML, PDF or another text format",
)
SAMPLE: Final = 65_536  # characters that tell whether a file is a text
ODD: Final = 0.02  # share of control characters in it above which it is none
_CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")  # without tab, feed, escape
_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MARKDOWN: Final = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_ORG: Final = re.compile(r"(\*{1,6})\s+(.*)$")
_UNDERLINE: Final = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}$")  # rst takes any of them
_FENCE: Final = re.compile(r"\s*(```|~~~)")
MARKDOWN: Final = frozenset({".md", ".markdown", ".mdx", ".mkd"})
TABLES: Final = frozenset({".csv", ".tsv"})
LONGEST_TITLE: Final = 200  # characters


def text_of(name: str, content: bytes) -> Text | Unreadable:
    """Return a text file's text."""
    decoded = decoded_text(content)
    if decoded is None:
        return BINARY
    return lines_to_text(decoded.splitlines(), PurePosixPath(name).suffix.lower())


def decoded_text(content: bytes) -> str | None:
    """Return the characters of a file, None where it is no text."""
    encodings = [encoding for bom, encoding in _BOMS if content.startswith(bom)]
    for encoding in encodings[:1] or ("utf-8", "cp1252"):
        try:
            decoded = content.decode(encoding)
        except UnicodeError:
            continue
        sample = decoded[:SAMPLE]
        if "\0" in sample or len(_CONTROL.findall(sample)) > ODD * len(sample):
            return None
        return decoded
    return None


def lines_to_text(lines: list[str], suffix: str = "") -> Text:
    """Return lines as a text without trailing spaces and repeated blank lines."""
    kept: list[str] = []
    headings: list[Heading] = []
    at = 0  # where the next line will begin
    fenced = False
    styles: list[str] = []  # underlines in the order in which rst met them first
    for raw in lines:
        line = clean(raw).rstrip()
        if not line and (not kept or not kept[-1]):
            continue
        if suffix in MARKDOWN and _FENCE.match(line):
            fenced = not fenced
        found = None if fenced else _heading(line, kept, at, suffix, styles)
        if found is not None:
            headings.append(found)
        kept.append(line)
        at += len(line) + 1
    if suffix in TABLES and kept:
        headings = [Heading(0, 1, kept[0][:LONGEST_TITLE])]
    return Text("\n".join(kept), headings)


def _heading(
    line: str, before: list[str], at: int, suffix: str, styles: list[str]
) -> Heading | None:
    """Return the heading that a line is, or makes of the line before it."""
    if suffix in MARKDOWN and (found := _MARKDOWN.match(line)):
        return Heading(at, len(found[1]), found[2][:LONGEST_TITLE])
    if suffix == ".org" and (found := _ORG.match(line)):
        return Heading(at, len(found[1]), found[2][:LONGEST_TITLE])
    title = before[-1] if before else ""
    underlined = title and not title[0].isspace() and _UNDERLINE.fullmatch(line)
    if not underlined or _UNDERLINE.fullmatch(title):
        return None
    start = at - len(title) - 1
    if suffix in MARKDOWN and line[0] in "=-" and not title.startswith(("-", ">", "|", "#")):
        return Heading(start, 1 if line[0] == "=" else 2, title[:LONGEST_TITLE])
    if suffix == ".rst" and len(line) >= len(title):
        if line[0] not in styles:
            styles.append(line[0])
        return Heading(start, 1 + styles.index(line[0]), title[:LONGEST_TITLE])
    return None
