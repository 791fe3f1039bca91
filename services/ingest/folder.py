"""The folder of one agent that people drop documents into, and what becomes of the files.

    ingest/AGENT/           whatever is dropped here, in folders or not, is taken in
    ingest/AGENT/done/      what was read
    ingest/AGENT/refused/   what could not be, each with a NAME.reason.txt beside it

No link is followed, neither to a file nor to a folder: every step of a path is opened by itself.
Nothing is deleted, and nothing is put in place of another file.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Final, Literal

DONE: Final = "done"
REFUSED: Final = "refused"
REASON: Final = ".reason.txt"
PARTIAL: Final = (".part", ".partial", ".crdownload", ".download", ".tmp", "~")
DEEPEST: Final = 32  # folders in folders
LONGEST: Final = 255 - len(REASON)  # bytes of a name that is put away: its reason fits behind it
LONGEST_SUFFIX: Final = 32  # bytes; what is longer is a part of the name
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # may be a link: whoever runs us made it
_FOLDER: Final = _ROOT | os.O_NOFOLLOW
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells that a file is still the same, without reading it."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Mark":
        """Return the mark of what was found."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that lies in the folder."""

    path: str
    """Relative to the folder."""
    kind: Literal["file", "link", "special"]
    mark: Mark


class Folder:
    """One agent's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the folders."""
        for name in ("", DONE, REFUSED):
            (self.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def dropped(self) -> list[Dropped]:
        """Return what lies here, by path; without hidden files and downloads under way.

        Raises:
            OSError: the folder cannot be read.
        """
        with _opened(os.open(self.root, _ROOT)) as root:
            return sorted(_walk(root, PurePosixPath(), DEEPEST), key=lambda found: found.path)

    def read(self, dropped: Dropped) -> bytes | None:
        """Return a file's content; None when it is no longer what was found.

        Raises:
            OSError: it may not be read.
        """
        try:
            with self._place(dropped.path) as (folder, name):
                handle = os.open(name, _FILE, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with os.fdopen(handle, "rb") as file:
            if Mark.of(os.fstat(handle)) != dropped.mark:
                return None
            content = file.read(dropped.mark.size + 1)
            same = Mark.of(os.fstat(handle)) == dropped.mark and len(content) == dropped.mark.size
            return content if same else None

    def file_done(self, dropped: Dropped) -> str | None:
        """Move a file among those that were read; return its new path, None if it has changed."""
        return self._move(dropped, DONE)

    def file_refused(self, dropped: Dropped, reason: str) -> str | None:
        """Move a file among the refused, with the reason beside it; return its new path."""
        moved = self._move(dropped, REFUSED)
        if moved is not None:
            with self._place(moved + REASON) as (folder, name), suppress(FileExistsError):
                handle = os.open(name, _NEW, 0o600, dir_fd=folder)
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(f"{reason}\n")
        return moved

    def _move(self, dropped: Dropped, to: str) -> str | None:
        """Move what was found; not what somebody has put in its place meanwhile."""
        target = PurePosixPath(to) / dropped.path
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            self._place(dropped.path) as (old, name),
        ):
            if Mark.of(os.stat(name, dir_fd=old, follow_symlinks=False)) != dropped.mark:
                return None
            for free in _names(target.name):
                path = str(target.with_name(free))
                with self._place(path, make=True) as (new, _):
                    if _moved(name, old, free, new, dropped.mark):
                        return path
        return None

    @contextmanager
    def _place(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Hold open the folder of the last name in `path`, following no link.

        Raises:
            OSError: a folder on the way is not there, or is a link.
        """
        *folders, name = PurePosixPath(path).parts
        at = os.open(self.root, _ROOT)
        try:
            for each in folders:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(each, 0o700, dir_fd=at)
                deeper = os.open(each, _FOLDER, dir_fd=at)
                os.close(at)
                at = deeper
            yield at, name
        finally:
            os.close(at)


def _moved(name: str, old: int, free: str, new: int, mark: Mark) -> bool:
    """Move a file unless another one has the new name; tell whether it is there now.

    Raises:
        FileNotFoundError: another replica was faster.
        OSError: it may not be moved.
    """
    try:
        # A link cannot take another file's place; a rename could.
        os.link(name, free, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
    except FileExistsError:  # ours, where we died just behind this
        if Mark.of(os.stat(free, dir_fd=new, follow_symlinks=False)) != mark:
            return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with suppress(FileNotFoundError):
            os.stat(free, dir_fd=new, follow_symlinks=False)
            return False
        os.rename(name, free, src_dir_fd=old, dst_dir_fd=new)
        return True
    if Mark.of(os.stat(name, dir_fd=old, follow_symlinks=False)) == mark:
        os.unlink(name, dir_fd=old)  # else it was replaced just now, and what is new stays
    return True


def _walk(folder: int, at: PurePosixPath, depth: int) -> Iterator[Dropped]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        if (
            name.startswith(".")
            or name.endswith(PARTIAL)
            or (not at.parts and name in {DONE, REFUSED})
        ):
            continue
        path = at / name
        with suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                if depth:
                    with (
                        suppress(NotADirectoryError),
                        _opened(os.open(name, _FOLDER, dir_fd=folder)) as deeper,
                    ):
                        yield from _walk(deeper, path, depth - 1)
                continue
            yield Dropped(str(path), _kind(found.st_mode), Mark.of(found))


def _kind(mode: int) -> Literal["file", "link", "special"]:
    if stat.S_ISREG(mode):
        return "file"
    return "link" if stat.S_ISLNK(mode) else "special"


def _names(name: str) -> Iterator[str]:
    """Yield the name, then others like it, each as long as a folder takes."""
    path = PurePosixPath(name)
    stem, suffix = path.stem, path.suffix
    if len(os.fsencode(suffix)) > LONGEST_SUFFIX:
        stem, suffix = name, ""
    yield _fitting(stem, suffix)
    for number in count(2):
        yield _fitting(stem, f" ({number}){suffix}")


def _fitting(stem: str, ending: str) -> str:
    while len(os.fsencode(stem + ending)) > LONGEST:
        stem = stem[:-1]
    return stem + ending


@contextmanager
def _opened(handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        os.close(handle)
