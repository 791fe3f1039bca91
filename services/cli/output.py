"""What commands print: JSON for programs, aligned text for people, no control characters."""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)


def document(value: object) -> None:
    """Print one JSON document, indented on a terminal."""
    encoded = _ENCODER.encode(value)
    if sys.stdout.isatty():
        encoded = msgspec.json.format(encoded, indent=2)
    print(encoded.decode())


def line(value: object) -> None:
    """Print one line of JSON, at once."""
    print(_ENCODER.encode(value).decode(), flush=True)


def visible(text: str) -> str:
    """Return text from outside without what would control the terminal that shows it."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 100) -> str:
    """Return the beginning of a text, on one line."""
    flat = visible(" ".join(text[: 4 * limit].split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, indent: str = "") -> None:
    """Print rows in columns; the last one is as wide as it is."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in (list(headings), *cells):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print(f"{indent}{'  '.join(padded)}".rstrip())


def when(at: int) -> str:
    """Return UTC microseconds as a local time to the second."""
    return f"{datetime.fromtimestamp(at / 1_000_000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def duration(ms: float) -> str:
    """Return milliseconds as people say them."""
    if ms < 1_000:
        return f"{ms:.0f} ms"
    seconds = ms / 1_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"


def money(usd: float) -> str:
    """Return US dollars, with the digits that a model call needs."""
    if usd == 0:
        return "$0"
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.4f}"


def plural(number: int, one: str) -> str:
    """Return a number of things, for example `1 event` or `2,000 events`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"
