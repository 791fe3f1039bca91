"""The file of export and import: zstd-compressed JSON, one line each, a manifest first.

Line 1        {"penstock": 1, "filter", "events", "bodies", "missing", "damaged", "sha256", …}
A body        {"body": {"sha256", "bytes", "media_type"}, "base64"}, before the events that name it
An event      {"seq", "subject", "event": {"id", "type", "v", "at", "actor", …}}, in log order

`sha256` is that of all lines behind the first, uncompressed, line ends included.
"""

import base64
import binascii
import io
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import msgspec
import zstandard

from schemas.base import BodyRef
from schemas.catalogue import json_schema
from schemas.envelope import MAX_EVENT_BYTES, UNREADABLE, Envelope, encode
from schemas.subjects import InvalidToken, matches, parse
from services.errors import Rejected
from services.runtime.bodies import reference

FORMAT: Final = 1  # of the file; events carry versions of their own
LONGEST_LINE: Final = 1 << 30  # bytes; a body is one line


class InvalidFile(Rejected):
    """The file is not an export of ours, or it is damaged."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a file."""

    penstock: int
    """Format of the file."""
    filter: str
    """Which subjects were exported, as a NATS filter."""
    events: int
    bodies: int
    missing: int
    """Bodies that events refer to and the store did not have."""
    damaged: int
    """Events that could not be read and are not in the file."""
    sha256: str
    schema: str = ""
    """Fingerprint of the schema of all events that the writer knew; empty in older files."""
    shares: tuple[str, ...] = ()
    """Channel streams that forks in the file share history of, and that are not in it."""


class EventLine(msgspec.Struct, frozen=True):
    """One event."""

    seq: int
    """In the log that it comes from."""
    subject: str
    event: Envelope


class BodyLine(msgspec.Struct, frozen=True):
    """One body."""

    body: BodyRef
    base64: str

    def content(self) -> bytes:
        """Return the body.

        Raises:
            InvalidFile: it is not what its reference says.
        """
        try:
            content = base64.b64decode(self.base64, validate=True)
        except binascii.Error as error:
            raise InvalidFile(f"body {self.body.sha256}: {error}") from error
        if reference(content, self.body.media_type) != self.body:
            raise InvalidFile(f"body {self.body.sha256} is damaged")
        return content


_EVENTS: Final = msgspec.json.Decoder(EventLine)
_BODIES: Final = msgspec.json.Decoder(BodyLine)
_ENCODER: Final = msgspec.json.Encoder()


@cache
def schema_fingerprint() -> str:
    """Return the fingerprint of all events that this version knows."""
    return sha256(msgspec.json.encode(json_schema(), order="sorted")).hexdigest()[:12]


class Writer:
    """Writes one file, which appears at its place when it is finished and not before."""

    def __init__(self, path: Path) -> None:
        self.events = self.bodies = self.missing = self.damaged = 0
        self.shares: set[str] = set()
        self._path = path
        # Names of our own, as another export may be under way to the same place; and it has all
        # that was ever said, so they can be read by nobody else.
        self._lines, self._whole = _beside(path), _beside(path)
        self._file = zstandard.open(self._lines, "wb")
        self._digest = sha256()

    def add_event(self, seq: int, subject: str, body: bytes) -> None:
        """Add an event, given as it is stored."""
        if b"\n" in body:
            body = msgspec.json.format(body, indent=-1)
        self._write(b'{"seq":%d,"subject":"%s","event":%s}\n' % (seq, subject.encode(), body))
        self.events += 1

    def add_body(self, ref: BodyRef, content: bytes) -> None:
        """Add a body."""
        encoded = base64.b64encode(content).decode()
        self._write(_ENCODER.encode(BodyLine(ref, encoded)) + b"\n")
        self.bodies += 1

    def _write(self, line: bytes) -> None:
        self._digest.update(line)
        self._file.write(line)

    def finish(self, pattern: str) -> Manifest:
        """Put the manifest in front and the file in its place."""
        self._file.close()
        manifest = Manifest(
            penstock=FORMAT,
            filter=pattern,
            events=self.events,
            bodies=self.bodies,
            missing=self.missing,
            damaged=self.damaged,
            sha256=self._digest.hexdigest(),
            schema=schema_fingerprint(),
            shares=tuple(sorted(self.shares)),
        )
        with self._whole.open("wb") as target, self._lines.open("rb") as lines:
            target.write(zstandard.compress(_ENCODER.encode(manifest) + b"\n"))
            while chunk := lines.read(1 << 20):
                target.write(chunk)
        self._whole.replace(self._path)
        self._lines.unlink()
        return manifest

    def abandon(self) -> None:
        """Leave nothing behind, unless finished."""
        self._file.close()
        self._lines.unlink(missing_ok=True)
        self._whole.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Make a new file in the same folder."""
    with NamedTemporaryFile(dir=path.parent, prefix=".penstock-", delete=False) as file:
        return Path(file.name)


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, line ends included, the manifest's first.

    Raises:
        InvalidFile: it cannot be read or decompressed.
    """
    try:
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            buffered = io.BufferedReader(reader, 1 << 20)
            while line := buffered.readline(LONGEST_LINE):
                yield line
    except (OSError, zstandard.ZstdError) as error:
        raise InvalidFile(f"{path} cannot be read: {error}") from error


def parse_line(line: bytes) -> EventLine | BodyLine:
    """Return what a line behind the first one holds.

    Raises:
        InvalidFile: neither an event nor a body.
    """
    try:
        return _BODIES.decode(line) if line.startswith(b'{"body"') else _EVENTS.decode(line)
    except (msgspec.DecodeError, *UNREADABLE) as error:
        raise InvalidFile(f"a line cannot be read: {error}") from error


def checked(path: Path) -> Manifest:
    """Read the whole file and return its manifest.

    Raises:
        InvalidFile: it is not whole, or anything in it is not what it says.
    """
    rest = lines(path)
    try:
        manifest = msgspec.json.decode(next(rest, b""), type=Manifest)
    except (msgspec.DecodeError, *UNREADABLE) as error:
        raise InvalidFile(f"{path} does not begin with a manifest: {error}") from error
    if manifest.penstock != FORMAT:
        raise InvalidFile(f"{path} has format {manifest.penstock}; this version reads {FORMAT}")
    digest, events, bodies = sha256(), 0, 0
    for line in rest:
        digest.update(line)
        match parse_line(line):
            case EventLine() as event:
                _check_subject(event.subject, manifest)
                if len(line) > MAX_EVENT_BYTES:
                    _check_size(event.event)
                events += 1
            case BodyLine() as body:
                body.content()
                bodies += 1
    found = (events, bodies, digest.hexdigest())
    if found != (manifest.events, manifest.bodies, manifest.sha256):
        raise InvalidFile(
            f"{path} is damaged or cut short: {events} of {manifest.events} events and {bodies} of "
            f"{manifest.bodies} bodies, SHA-256 {digest.hexdigest()}, not {manifest.sha256}"
        )
    return manifest


def _check_size(event: Envelope) -> None:
    size = len(encode(event))
    if size > MAX_EVENT_BYTES:
        raise InvalidFile(
            f"event {event.id} has {size:,} bytes; a log takes {MAX_EVENT_BYTES:,} of one"
        )


def _check_subject(subject: str, manifest: Manifest) -> None:
    try:
        parse(subject)
    except InvalidToken as error:
        raise InvalidFile(str(error)) from error
    if not matches(manifest.filter, subject):
        raise InvalidFile(f"{subject} is not among {manifest.filter}")
