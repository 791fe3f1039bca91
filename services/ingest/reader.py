"""The process that reads documents, started when there is one to read, and again when it died."""

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from math import ceil
from os import pathsep
from typing import Final

import msgspec
import structlog

from services.ingest.passage import Unreadable
from services.ingest.reading import LENGTH, Answer, Read
from services.runtime.cancelling import end

IDLE_S: Final = 30.0  # a process that nobody needs costs memory
TRIES: Final = 2  # a process may be killed for want of memory that was another's
GRACE_S: Final = 5.0  # beyond what a document may take, for a process that is still starting
TOO_LONG: Final = "finding its text took longer than {:g} s: split it into parts"
DIED: Final = "the process that reads documents died of it: open it and save it anew"

log = structlog.get_logger()


class Died(Exception):
    """The process ended before it answered."""


class Reader:
    """Reads one document at a time, outside of this process."""

    def __init__(self, *, read_s: float, memory_bytes: int) -> None:
        self._read_s = read_s
        self._memory_bytes = memory_bytes
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def read(self, name: str, content: bytes) -> Read:
        """Return the passages of a document, in their order, or why there are none."""
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            reason = DIED
            for _ in range(TRIES):
                try:
                    async with asyncio.timeout(self._read_s + GRACE_S):
                        read = await self._ask(name, content)
                except TimeoutError:
                    reason = TOO_LONG.format(self._read_s)
                    await self.close()
                    break
                except Died:
                    ended = await self._ended()
                    log.warning("ingest.reader_died", document=name, code=ended)
                    if ended == -signal.SIGALRM:
                        reason = TOO_LONG.format(self._read_s)
                        break
                except BaseException:
                    await self.close()  # its next answer would be to this question
                    raise
                else:
                    loop = asyncio.get_running_loop()
                    self._idle = loop.call_later(IDLE_S, self._kill)
                    return read
            return Unreadable(reason="damaged", detail=reason)

    async def _ended(self) -> int | None:
        """Return how the process ended that has fallen silent.

        It is killed if it has not: a kill at once could take the answer from whoever waits for it.
        """
        if self._process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await self._process.wait()
        return await self.close()

    async def close(self) -> int | None:
        """End the process, if there is one, and return how it ended."""
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is None:
            return None
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        return await process.wait()

    async def _ask(self, name: str, content: bytes) -> Read:
        process = await self._started()
        sending = asyncio.create_task(self._send(process, name.encode(), content))
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            head = await process.stdout.readexactly(LENGTH.size)
            raw = await process.stdout.readexactly(LENGTH.unpack(head)[0])
            await sending
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Died from None
        finally:
            await end(sending)
        answer = msgspec.json.decode(raw, type=Answer)
        return answer.passages if answer.unreadable is None else answer.unreadable

    async def _send(self, process: Process, *parts: bytes) -> None:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        for part in parts:
            process.stdin.write(LENGTH.pack(len(part)) + part)
            await process.stdin.drain()

    async def _started(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.ingest.reading"),
                *(str(self._memory_bytes), str(ceil(self._read_s))),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={"PYTHONPATH": pathsep.join(sys.path)},  # nothing else of ours: no secret
            )
        return self._process

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
