"""The log file of `penstock up`: grows to a size, then is moved aside."""

import io
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 10_000_000
KEPT: Final = 4  # older files beside the current one


class LogFile(io.TextIOBase):
    """A text stream into `path`; when it is full, `path.1` is the file before it, and so on."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES, kept: int = KEPT) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._most_bytes = most_bytes
        self._kept = kept
        self._open()

    def write(self, text: str) -> int:
        """Write a line; a disk that is full loses lines and stops nothing."""
        raw = text.encode(errors="replace")
        try:
            if self._bytes + len(raw) > self._most_bytes:
                self._rotate()
            self._bytes += self._file.write(raw)
        except OSError:
            return 0
        return len(text)

    def isatty(self) -> bool:
        """Return False: nothing here is for a terminal."""
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        self._bytes = self._file.tell()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._kept, 0, -1):
            older = self._path if number == 1 else self._aside(number - 1)
            if older.exists():
                older.replace(self._aside(number))
        self._open()

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
