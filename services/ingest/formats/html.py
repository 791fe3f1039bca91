"""Web pages: what a reader sees of them, and their headings."""

import re
from html.parser import HTMLParser
from typing import Final

from services.ingest.chunking import Heading, Text
from services.ingest.formats.plain import BINARY, LONGEST_TITLE, decoded_text
from services.ingest.passage import Unreadable
from services.runtime.text import clean

HIDDEN: Final = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "object"})
TITLES: Final = {f"h{level}": level for level in range(1, 7)}
BLOCKS: Final = frozenset(
    {
        *TITLES,
        *("address", "article", "aside", "blockquote", "body", "div", "dl", "fieldset", "figure"),
        *("footer", "form", "head", "header", "hr", "main", "nav", "ol", "p", "pre", "section"),
        *("table", "title", "ul"),
    }
)
LINES: Final = frozenset({"br", "dd", "dt", "figcaption", "li", "option", "tr"})
_SPACE: Final = re.compile(r"\s+")


class _Page(HTMLParser):
    """Collects blocks of text as they are met."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self.headings: list[tuple[int, int, str]] = []
        """Index of the block, level, title."""
        self._parts: list[str] = []
        self._hidden = 0
        self._level = 0
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin what the tag begins."""
        del attrs
        if tag in HIDDEN:
            self._hidden += 1
        elif tag in BLOCKS:
            self.end_block()
            self._level = TITLES.get(tag, 0)
            self._preformatted += tag == "pre"
        elif tag in LINES:
            self._parts.append("\n- " if tag == "li" else "\n")
        elif tag in {"td", "th"}:
            self._parts.append("\t")

    def handle_endtag(self, tag: str) -> None:
        """End what the tag ends."""
        if tag in HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in BLOCKS:
            self.end_block()
            self._level = 0
            self._preformatted = max(0, self._preformatted - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        """Keep what is visible."""
        if not self._hidden:
            self._parts.append(data if self._preformatted else _SPACE.sub(" ", data))

    def end_block(self) -> None:
        """Put what was collected into a block of its own."""
        lines = [clean(line).strip(" \t") for line in "".join(self._parts).split("\n")]
        block = "\n".join(line.rstrip() for line in lines if line.strip())
        self._parts = []
        if not block:
            return
        if self._level:
            title = " ".join(block.split())[:LONGEST_TITLE]
            self.headings.append((len(self.blocks), self._level, title))
        self.blocks.append(block)


def text_of(content: bytes) -> Text | Unreadable:
    """Return the text of a page."""
    decoded = decoded_text(content)
    if decoded is None:
        return BINARY
    page = _Page()
    page.feed(decoded)
    page.close()
    page.end_block()
    starts, at = [], 0
    for block in page.blocks:
        starts.append(at)
        at += len(block) + 2
    headings = [Heading(starts[index], level, title) for index, level, title in page.headings]
    return Text("\n\n".join(page.blocks), headings)
