"""Show a reply while it is being written: deltas of plain text or of `reply`'s arguments."""

import asyncio
import json
import re
from typing import Final

import msgspec

from schemas.base import RunId
from schemas.subjects import Subject
from services.runtime.live import Live, TextDelta, deltas
from services.runtime.model import Delta

EVERY_S: Final = 0.05  # pieces are gathered for this long: eyes need no more
_TEXT: Final = re.compile(
    r""""text"\s*:\s*"(
        (?: [^"\\] | \\[^u] | \\u(?![dD][89abAB])[0-9a-fA-F]{4}
          | \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
        )*
    )""",
    re.VERBOSE,
)
"""The text as far as its escapes are whole, and both halves of a character are there."""


class Preview:
    """Publishes what of the answer can be read so far; lossy, never recorded."""

    def __init__(self, live: Live, conversation: Subject, turn_id: RunId) -> None:
        self._live = live
        self._subject = deltas(conversation)
        self._turn_id = turn_id
        self._plain: list[str] = []
        self._arguments: list[str] = []
        self._shown = ""
        self._reset = False
        self._flushing: asyncio.Task[None] | None = None

    def feed(self, delta: Delta) -> None:
        """Take a piece of the answer."""
        if delta.reset:
            self._plain, self._arguments, self._shown, self._reset = [], [], "", True
        if delta.tool is None:
            self._plain.append(delta.text)
        elif delta.tool == "reply":
            self._arguments.append(delta.text)
        else:
            return
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        await asyncio.sleep(EVERY_S)
        text = readable("".join(self._arguments)) if self._arguments else "".join(self._plain)
        if not text.startswith(self._shown):
            self._shown, self._reset = "", True
        piece = TextDelta(turn=self._turn_id, text=text[len(self._shown) :], reset=self._reset)
        self._shown, self._reset = text, False
        if piece.text or piece.reset:
            await self._live.publish(self._subject, msgspec.json.encode(piece))


def readable(arguments: str) -> str:
    """Return the reply's text in arguments that may end anywhere."""
    found = _TEXT.search(arguments)
    if found is None:
        return ""
    try:
        text: str = json.loads(f'"{found.group(1)}"', strict=False)
    except ValueError:
        return ""
    return text.encode("utf-8", "replace").decode()
