"""Find the passages of a document: run as `python -m services.ingest.reading BYTES SECONDS`.

A process of its own, because a document comes from outside: a small file can unpack into more than
the machine has, or keep a parser busy for ever. Here it ends this process and nothing else. Takes
documents on standard input, answers on standard output, one after the other, until the input ends.
"""

import resource
import signal
import struct
import sys
from pathlib import PurePosixPath
from typing import BinaryIO, Final, TypeAlias

import msgspec

from services.ingest.chunking import passages
from services.ingest.formats import html, pdf, plain
from services.ingest.passage import Passage, Unreadable

EMPTY: Final = Unreadable(reason="empty", detail="there is no text in it")
TOO_MUCH: Final = Unreadable(
    reason="too_large", detail="it unpacks into more than may be read: split it into parts"
)
HTML: Final = frozenset({".html", ".htm", ".xhtml"})
PDF_MARK: Final = b"%PDF-"
LENGTH: Final = struct.Struct(">Q")

Read: TypeAlias = list[Passage] | Unreadable


class Answer(msgspec.Struct, frozen=True):
    """What goes over the pipe: passages, or why there are none."""

    passages: list[Passage] = []
    unreadable: Unreadable | None = None


def read(name: str, content: bytes) -> Read:
    """Return the passages of a document, in their order, or why there are none."""
    if not content.strip():
        return EMPTY
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".pdf" or content[:1_024].lstrip().startswith(PDF_MARK):
        text = pdf.text_of(content)
    elif suffix in HTML:
        text = html.text_of(content)
    else:
        text = plain.text_of(name, content)
    if isinstance(text, Unreadable):
        return text
    return list(passages(text)) or EMPTY


def send(pipe: BinaryIO, *parts: bytes) -> None:
    """Write parts, each behind its length."""
    for part in parts:
        pipe.write(LENGTH.pack(len(part)))
        pipe.write(part)
    pipe.flush()


def received(pipe: BinaryIO) -> bytes | None:
    """Return the next part; None when there is no more."""
    head = pipe.read(LENGTH.size)
    return pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def main(memory_bytes: int, seconds: int) -> None:
    """Answer until nobody asks any more."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        name, content = received(sys.stdin.buffer), received(sys.stdin.buffer)
        if name is None or content is None:
            return
        signal.alarm(seconds)  # its default is the end of this process, whoever still waits for it
        try:
            found = read(name.decode(), content)
        except MemoryError:
            found = TOO_MUCH
        signal.alarm(0)
        answer = Answer(unreadable=found) if isinstance(found, Unreadable) else Answer(found)
        send(sys.stdout.buffer, msgspec.json.encode(answer))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
