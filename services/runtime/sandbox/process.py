"""One bubblewrap process: started, watched, and ended to its last descendant.

The command is held back until we hold a handle on the first process inside; killing that one makes
the kernel kill everything inside with it, whatever it is doing. Should we die first, nobody gives
the word and nothing runs.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec

from services.errors import SandboxUnavailable
from services.runtime.sandbox import seccomp
from services.runtime.sandbox.output import Kept

_CHUNK_BYTES: Final = 65_536  # one pipe's worth
_DROPPING_PAUSE_S: Final = 0.001  # at most 64 MB/s are read only to be thrown away
_START_S: Final = 20.0  # bubblewrap takes milliseconds; a machine that swaps, seconds
_END_S: Final = 10.0  # only a process stuck in the kernel outlives its kill


class _Info(msgspec.Struct):
    """What bubblewrap says when it has made the namespaces."""

    pid: int = msgspec.field(name="child-pid")


class _Status(msgspec.Struct):
    """One line of what bubblewrap says as it goes on."""

    exit_code: int | None = msgspec.field(name="exit-code", default=None)


class Process:
    """A running sandbox; `end` must be awaited whatever happens."""

    def __init__(
        self,
        bwrap: Path,
        arguments: Sequence[str],
        *,
        files: Mapping[str, str],
        keep_bytes: int,
    ) -> None:
        """Start bubblewrap, whose command waits for `release`.

        Args:
            bwrap: The program.
            arguments: What follows its file descriptors.
            files: Read-only files to show inside, by path.
            keep_bytes: How much of the output is kept.

        Raises:
            SandboxUnavailable: the program cannot be started.
        """
        self.kept = Kept(keep_bytes)
        self.pid: int | None = None
        """The first process inside, as seen from outside; None until `release`."""
        self.exit_code: int | None = None
        """After `end`: the command's, 128 + N when signal N ended it; None when it never ran."""
        self._inside: int | None = None
        try:
            self._start([str(bwrap)], arguments, files)
        except OSError as error:
            raise SandboxUnavailable(f"{bwrap} cannot be started: {error.strerror}") from error
        self._reading = asyncio.create_task(self._read())

    def _start(
        self, command: list[str], arguments: Sequence[str], files: Mapping[str, str]
    ) -> None:
        with ExitStack() as ours, ExitStack() as theirs:
            self._output, output = _pipe(ours, theirs)
            self._info, info = _pipe(ours, theirs)
            self._status, status = _pipe(ours, theirs)
            word, write = os.pipe()
            theirs.callback(os.close, word)
            self._word = ours.enter_context(os.fdopen(write, "wb", buffering=0))
            rules = _sealed(seccomp.program(), theirs)
            passed = [info, status, rules]
            command += ["--info-fd", str(info), "--json-status-fd", str(status)]
            command += ["--seccomp", str(rules)]
            for path, content in files.items():
                passed.append(_sealed(content.encode(), theirs))
                command += ["--perms", "0444", "--ro-bind-data", str(passed[-1]), path]
            self._popen = subprocess.Popen(
                [*command, *arguments],
                stdin=word,
                stdout=output,
                stderr=output,
                pass_fds=passed,
                cwd="/",
                start_new_session=True,  # Ctrl-C at our terminal is for us to act on
                env={},  # the first process inside keeps it where the others can read it
            )
            try:
                self._monitor = os.pidfd_open(self._popen.pid)
            except OSError:
                self._popen.kill()
                self._popen.wait()
                raise
            ours.callback(os.close, self._monitor)
            self._held = ours.pop_all()

    async def release(self) -> None:
        """Let the command run.

        Raises:
            SandboxUnavailable: bubblewrap did not come so far in time. When it ended by itself,
                nothing is raised and `exit_code` stays None.
        """
        try:
            async with asyncio.timeout(_START_S):
                info = await self._read_info()
        except TimeoutError as error:
            raise SandboxUnavailable(f"bubblewrap did not start in {_START_S:.0f} s") from error
        if info is None:
            return
        try:
            self._inside = os.pidfd_open(info.pid)
        except ProcessLookupError:  # it could not build the sandbox, and is gone
            return
        self._held.callback(os.close, self._inside)
        self.pid = info.pid
        with suppress(BrokenPipeError):  # it ended by itself
            self._word.write(b"go\n")

    async def exits_within(self, seconds: float) -> bool:
        """Wait for the command to exit, at most `seconds`, and say whether it has."""
        try:
            async with asyncio.timeout(seconds):
                await _readable(self._monitor)
        except TimeoutError:
            return False
        return True

    async def end(self) -> None:
        """Kill what is left, wait until it is gone, and take in what it had printed."""
        # Without the word, a command that still waits for it ends by itself. Bubblewrap killed that
        # early would leave its child behind, waiting for ever.
        self._word.close()
        if self._inside is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._inside, signal.SIGKILL)
        try:
            async with asyncio.timeout(_END_S):
                await _readable(self._monitor)
                self._popen.wait()
                await self._last_gone()
                await self._reading
        except TimeoutError:
            self._popen.kill()
        self._reading.cancel()
        self.exit_code = self._read_exit_code()
        if self.exit_code is None and (self._popen.returncode or 0) < 0:
            self.exit_code = 128 - self._popen.returncode  # killed from outside, as by the kernel
        self._held.close()

    async def _last_gone(self) -> None:
        """Wait for the first process inside, which the kernel lets go last."""
        if self._inside is None:
            return
        await _readable(self._inside)
        _reap(self._inside)

    async def _read(self) -> None:
        while chunk := await _next(self._output):
            self.kept.feed(chunk)
            if self.kept.dropped:
                await asyncio.sleep(_DROPPING_PAUSE_S)

    async def _read_info(self) -> _Info | None:
        """Return what bubblewrap says at its start; None when it ends without a word."""
        raw = b""
        while not raw.rstrip().endswith(b"}"):
            if not (chunk := await _next(self._info)):
                return None
            raw += chunk
        return msgspec.json.decode(raw, type=_Info)

    def _read_exit_code(self) -> int | None:
        """Return the command's exit code from the last line of the status."""
        try:
            lines = os.read(self._status, _CHUNK_BYTES).splitlines()
        except BlockingIOError:  # it outlived its kill
            return None
        return msgspec.json.decode(lines[-1], type=_Status).exit_code if lines else None


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Return the two ends of a new pipe, each closed by its stack; reading never blocks."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def _sealed(content: bytes, stack: ExitStack) -> int:
    """Return a file in memory that holds `content`, to be read from its start."""
    fd = os.memfd_create("sandbox")
    stack.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _reap(handle: int) -> None:
    """Clear away an ended process if it has fallen to us, as orphans do when we are process 1."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)


async def _next(fd: int) -> bytes:
    """Return the next bytes of a pipe; empty at its end."""
    while True:
        await _readable(fd)
        with suppress(BlockingIOError):  # woken for nothing
            return os.read(fd, _CHUNK_BYTES)


async def _readable(fd: int) -> None:
    """Wait until `fd` can be read, or, for a handle on a process, until that has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
