"""Text from outside, made safe to store and short enough to show.

PostgreSQL stores no NUL and UTF-8 has no lone surrogate, so both become characters one can see.
"""

import re
from typing import Final, Literal

NUL_SHOWN: Final = "\u2400"  # SYMBOL FOR NULL
SHORTEST: Final = 100  # bytes; below it the note about what is missing would be all there is
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def clean(raw: bytes | str) -> str:
    """Return `raw` as text that every store and encoder accepts.

    Bytes are read as UTF-8. What is not UTF-8, and every surrogate, becomes U+FFFD; NUL becomes
    U+2400. Other control characters stay.
    """
    if isinstance(raw, bytes):
        text = raw.decode("utf-8", "replace")
    else:
        text = raw if raw.isascii() else _SURROGATE.sub("\ufffd", raw)
    return text.replace("\0", NUL_SHOWN)


def gap(left_out: int) -> str:
    """Return the line that stands for `left_out` bytes, with its line breaks."""
    return f"\n[... {left_out:,} bytes left out ...]\n"


def cut(text: str, limit: int, *, keep: Literal["start", "both"] = "start") -> str:
    """Return `text` in at most `limit` bytes of UTF-8, with a note where something is missing.

    Args:
        text: Cleaned text.
        limit: Size in bytes, the note included; at least `SHORTEST`.
        keep: `start` keeps the beginning; `both` keeps as much of the beginning as of the end,
            for output whose last lines say what went wrong.

    Raises:
        ValueError: `limit` is too small.
    """
    if limit < SHORTEST:
        raise ValueError(f"a limit of {limit} bytes is below {SHORTEST}")
    raw = text.encode()
    if len(raw) <= limit:
        return text
    room = limit - len(gap(len(raw)).encode())
    start = raw[: room if keep == "start" else room // 2].decode(errors="ignore")
    end = "" if keep == "start" else raw[len(raw) - room // 2 :].decode(errors="ignore")
    left_out = len(raw) - len(start.encode()) - len(end.encode())
    return start + gap(left_out) + end


def shorten(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters, cut between words."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    kept, _, _ = line[:limit].rpartition(" ")
    return (kept or line[: limit - 1]) + "…"


def quoted(text: str, limit: int) -> str:
    """Return what somebody wrote as one line in quotes, of at most `limit` characters within.

    It cannot begin a line, end the quotes or hide characters, so what reads it sees where it ends.
    """
    line = shorten(_CONTROL.sub(" ", text), limit)
    return f'"{line.replace(chr(34), chr(39))}"'
