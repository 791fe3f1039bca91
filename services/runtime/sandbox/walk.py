"""Walk a path so that it cannot lead out of the workspace.

One name at a time from a handle on the workspace, never following a link that the kernel would
follow for us; links are read and walked by the same rules. So nothing that commands do meanwhile,
such as swapping a directory for a link, can lead the walk astray.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from services.errors import Rejected
from services.runtime.sandbox.layout import WORKSPACE

ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
DIRECTORY: Final = ROOT | os.O_NOFOLLOW
_LINKS: Final = 40  # as many as the kernel follows


class OutsideWorkspace(Rejected):
    """The path leads out of the workspace."""


@dataclass(frozen=True, slots=True)
class Place:
    """A name, perhaps of nothing yet, in a directory that is held open."""

    directory: int
    name: str
    """One name, or `.` for the directory itself; never a link at the time of the walk."""


@contextmanager
def walk(root: Path, path: str, *, made: Callable[[int], None] | None = None) -> Iterator[Place]:
    """Hold open the directory of the last name in `path`.

    Args:
        root: The workspace.
        path: Relative to it, or absolute below `/workspace`.
        made: Called with a handle on every directory that was missing and is made; None to make
            none.

    Raises:
        OutsideWorkspace: the path, or a link on it, leads out.
        OSError: a directory on the way does not exist, or is none.
    """
    handles = [os.open(root, ROOT)]
    try:
        yield _steps(_names(path), handles, made)
    finally:
        for handle in handles:
            os.close(handle)


@contextmanager
def held(name: str, flags: int, *, directory: int | None = None) -> Iterator[int]:
    """Hold a file or directory open."""
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _steps(names: deque[str], handles: list[int], made: Callable[[int], None] | None) -> Place:
    """Walk `names`; `handles` are the directories from the workspace down to where we are."""
    links = 0
    while names:
        name = names.popleft()
        if name == "..":
            if len(handles) == 1:
                raise OutsideWorkspace("the path leads out of the workspace")
            os.close(handles.pop())
        elif (target := _link(name, handles[-1])) is not None:
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                while len(handles) > 1:
                    os.close(handles.pop())
            names.extendleft(reversed(_names(target)))
        elif names:
            handles.append(_enter(name, handles[-1], made))
        else:
            return Place(handles[-1], name)
    return Place(handles[-1], ".")


def _enter(name: str, parent: int, made: Callable[[int], None] | None) -> int:
    """Return a handle on a directory in `parent`, which is made if it is missing and may be."""
    try:
        return os.open(name, DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if made is None:
            raise
    with suppress(FileExistsError):  # somebody else was faster
        os.mkdir(name, 0o755, dir_fd=parent)
    handle = os.open(name, DIRECTORY, dir_fd=parent)
    made(handle)
    os.fsync(parent)
    return handle


def _names(path: str) -> deque[str]:
    """Return the names on a path; an absolute one must lie below `/workspace`.

    Raises:
        OutsideWorkspace: it does not.
        Rejected: it contains NUL.
    """
    if "\0" in path:
        raise Rejected("a path cannot contain NUL")
    pure = PurePosixPath(path)
    if not pure.is_absolute():
        return deque(pure.parts)
    if not pure.is_relative_to(WORKSPACE):
        raise OutsideWorkspace(f"only files below {WORKSPACE} can be used")
    return deque(pure.relative_to(WORKSPACE).parts)


def _link(name: str, directory: int) -> str | None:
    """Return where `name` points; None when it is not a link, or nothing."""
    try:
        return os.readlink(name, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise
