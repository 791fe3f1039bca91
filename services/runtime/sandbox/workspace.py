"""The files of one agent: read, replaced and listed, never outside of its workspace."""

import errno
import fcntl
import heapq
import itertools
import os
import secrets
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from services.errors import Rejected
from services.runtime.sandbox.walk import DIRECTORY, ROOT, Place, held, walk

_USER_IDS: Final = range(60_706, 61_184)  # used by no system for people, services or containers
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_PAUSE_S: Final = 0.01  # waiting happens in a thread
_LOCK_WAIT_S: Final = 5.0  # an edit takes milliseconds; only a command that holds the lock, longer


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory."""

    name: str
    """As the system gives it: bytes that are not UTF-8 are lone surrogates."""
    kind: Literal["directory", "file", "link", "special"]
    size: int | None = None
    """Bytes of a file; None for everything else."""
    target: str | None = None
    """Where a link points; None for everything else."""


class Workspace:
    """One agent's directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.owner: int | None = None
        """User and group that commands run as when we are root; None when they run as we do."""
        if os.geteuid() == 0:
            self.owner = _owner(root)

    def prepare(self) -> Path:
        """Create the directory, hand it to its owner and return it; its content stays as it is."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.owner is not None and self.root.stat().st_uid != self.owner:
            os.chown(self.root, self.owner, self.owner)
        return self.root

    def read(self, path: str, *, limit: int) -> bytes:
        """Return a file's content.

        Args:
            path: Relative to the workspace, or absolute below `/workspace`.
            limit: Largest size that is read, in bytes.

        Raises:
            Rejected: it is larger, not a regular file, or outside of the workspace.
            OSError: it does not exist or cannot be read.
        """
        with (
            walk(self.prepare(), path) as place,
            held(place.name, _READ, directory=place.directory) as descriptor,
        ):
            _check_regular(path, os.fstat(descriptor))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(limit + 1)
        if len(content) > limit:
            raise Rejected(f"{path} is larger than {limit:,} bytes; read part of it with shell")
        return content

    def write(self, path: str, content: bytes, *, create_dirs: bool = True) -> bool:
        """Put `content` in place of a file's whole content, at once and durably.

        Whoever reads, and whatever crashes, sees the old content or the new. A file keeps its
        permissions; of other names for it (hard links) it is cut loose.

        Returns:
            Whether the file is new.

        Raises:
            Rejected: it is not a regular file, or outside of the workspace.
            OSError: it cannot be written.
        """
        made = self._give if create_dirs else None
        with walk(self.prepare(), path, made=made) as place:
            try:
                found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
            except FileNotFoundError:
                self._replace(place, content, mode=0o644)
                return True
            _check_regular(path, found)
            self._replace(place, content, mode=found.st_mode & 0o777)
            return False

    def change(self, path: str, new: Callable[[bytes], bytes], *, limit: int) -> None:
        """Replace a file's content by `new` of it; one change at a time in this workspace.

        Raises:
            Rejected: as for `read` and `write`, or because another change does not end.
            OSError: it does not exist, cannot be read or cannot be written.
        """
        with self._lock():
            self.write(path, new(self.read(path, limit=limit)), create_dirs=False)

    def entries(self, path: str, *, limit: int) -> tuple[list[Entry], int]:
        """Return the first entries of a directory and how many it has; directories come first.

        Raises:
            Rejected: the path leads outside of the workspace.
            OSError: it does not exist or is not a directory.
        """
        count = itertools.count()
        with (
            walk(self.prepare(), path) as place,
            held(place.name, DIRECTORY, directory=place.directory) as directory,
            os.scandir(directory) as found,
        ):
            counted = (entry for entry, _ in zip(found, count, strict=False))
            first = heapq.nsmallest(limit, counted, key=_order)
            return [_entry(entry, directory) for entry in first], next(count)

    def _replace(self, place: Place, content: bytes, *, mode: int) -> None:
        """Write beside the file, then put the new one in its place."""
        beside = f".{secrets.token_hex(8)}.penstock-tmp"
        descriptor = os.open(beside, _CREATE, 0o600, dir_fd=place.directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(descriptor, mode)
                self._give(descriptor)
                os.fsync(descriptor)
            os.rename(beside, place.name, src_dir_fd=place.directory, dst_dir_fd=place.directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=place.directory)
            raise
        os.fsync(place.directory)

    def _give(self, descriptor: int) -> None:
        """Hand what we made as root to the user that commands run as."""
        if self.owner is not None:
            os.fchown(descriptor, self.owner, self.owner)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the workspace's lock, across threads and processes.

        Raises:
            Rejected: it was held by another for too long.
        """
        deadline = time.monotonic() + _LOCK_WAIT_S
        with held(str(self.prepare()), ROOT) as handle:
            while not _locked(handle):
                if time.monotonic() > deadline:
                    raise Rejected("another edit in this workspace does not end")
                time.sleep(_LOCK_PAUSE_S)
            yield


def _owner(root: Path) -> int:
    """Return the user that a workspace belongs to already, wherever it was then, or a new one."""
    with suppress(FileNotFoundError):
        if (user := root.stat().st_uid) in _USER_IDS:
            return user
    return _USER_IDS[zlib.crc32(os.fsencode(root.absolute())) % len(_USER_IDS)]


def _locked(handle: int) -> bool:
    """Take the lock if it is free, and say whether it was."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_regular(path: str, found: os.stat_result) -> None:
    """Refuse everything but a file.

    Raises:
        IsADirectoryError: it is a directory.
        Rejected: it is a pipe, a socket or a device.
    """
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise Rejected(f"{path} is not a regular file")


def _order(entry: os.DirEntry[str]) -> tuple[bool, str]:
    return not entry.is_dir(follow_symlinks=False), entry.name


def _entry(found: os.DirEntry[str], directory: int) -> Entry:
    """Describe one name; one that vanished meanwhile is `special`."""
    with suppress(OSError):
        if found.is_symlink():
            return Entry(found.name, "link", target=os.readlink(found.name, dir_fd=directory))
        if found.is_dir(follow_symlinks=False):
            return Entry(found.name, "directory")
        if found.is_file(follow_symlinks=False):
            return Entry(found.name, "file", size=found.stat(follow_symlinks=False).st_size)
    return Entry(found.name, "special")
