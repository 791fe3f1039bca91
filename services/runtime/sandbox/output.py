"""What a command prints: how much of it is kept, and whether it ends in a question."""

import re
import time
from typing import Final

from services.runtime.text import gap

_TAIL_BYTES: Final = 512  # enough for the last line of any prompt
_PROMPT: Final = re.compile(
    r"""
    [\[(] \s* y (es)? \s* [/|] \s* n (o)? ( \s* [/|] .{1,20}? )? \s* [\])] [\s:?>]* $
    | \b press \b .{0,20} \b (enter | return | any \s key | a \s key) \b
    | \b (password | passphrase | passcode) \b [^:?]{0,80} [:?] \s* $
    | \b (are \s you \s sure | do \s you \s (want | wish | accept | agree)) \b [^?]{0,200} \? \s* $
    | \b (continue | proceed | overwrite | accept) \b [^?]{0,80} \? \s* $
    """,
    re.IGNORECASE | re.VERBOSE,
)


def is_prompt(line: str) -> bool:
    """Say whether `line` looks like a question that somebody must type an answer to."""
    return _PROMPT.search(line) is not None


class Kept:
    """The first and the last part of a stream of bytes, of any length, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._start = bytearray()
        self._end = bytearray()
        self._passed = 0  # bytes that were in `_end` once
        self._last_at = time.monotonic()

    @property
    def dropped(self) -> int:
        """Bytes that were seen and are not kept."""
        return self._passed + max(0, len(self._end) - self._half)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        self._last_at = time.monotonic()
        room = self._half - len(self._start)
        self._start += chunk[:room]
        self._end += chunk[room:]
        # Shrunk only at twice its size, so that each byte is moved once at most.
        if len(self._end) > 2 * self._half:
            surplus = len(self._end) - self._half
            self._passed += surplus
            del self._end[:surplus]

    def content(self) -> bytes:
        """Return what is kept, in order, with a note where bytes are missing."""
        if not self.dropped:
            return bytes(self._start + self._end)
        end = self._end[len(self._end) - self._half :]
        return bytes(self._start + gap(self.dropped).encode() + end)

    def silent_s(self) -> float:
        """Return the seconds since the last byte, or since the start."""
        return time.monotonic() - self._last_at

    def last_line(self) -> str:
        """Return the last line that is not blank, without what a terminal would have erased."""
        tail = bytes((self._end or self._start)[-_TAIL_BYTES:]).decode(errors="replace")
        lines = tail.replace("\r", "\n").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")
