"""Run one command in a sandbox, within its limits, and say what came of it."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from services.errors import Rejected, SandboxUnavailable
from services.runtime.sandbox.layout import WORKSPACE, Command, World, accounts, arguments
from services.runtime.sandbox.limits import Limits
from services.runtime.sandbox.output import is_prompt
from services.runtime.sandbox.process import Process
from services.runtime.sandbox.usage import exceeds
from services.runtime.sandbox.workspace import Workspace
from services.runtime.text import clean

_TICK_S: Final = 0.25  # how often what no kernel limit covers is looked at
_ARGUMENT_BYTES: Final = 100_000  # the kernel takes 128 KiB in one argument

Stop = Literal["timed_out", "waits_for_input", "out_of_memory", "disk_full"]
"""Why we ended a command. `waits_for_input`: it was silent after a question."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a command."""

    exit_code: int
    """The command's own; 128 + N when signal N ended it, as it is when we did."""
    output: bytes
    """What it wrote to standard output and error, in order; with a note where bytes are missing."""
    dropped: int
    """Bytes of output that were not kept."""
    stopped: Stop | None
    """None when it ended by itself."""
    duration_ms: int

    @property
    def timed_out(self) -> bool:
        """Whether its time was up."""
        return self.stopped == "timed_out"

    @property
    def truncated(self) -> bool:
        """Whether `output` misses bytes."""
        return self.dropped > 0


class Sandbox:
    """Where the commands of one agent run: its workspace, a read-only system, and nothing else."""

    def __init__(
        self,
        bwrap: Path,
        workspace: Path,
        limits: Limits | None = None,
        *,
        network: bool = False,
        read_only_paths: Sequence[str] = (),
    ) -> None:
        self.files = Workspace(workspace.absolute())
        self.limits = limits or Limits()
        self._bwrap = bwrap.absolute()
        self._world = World(
            workspace=self.files.root,
            limits=self.limits,
            network=network,
            read_only_paths=read_only_paths,
            user_id=self.files.owner,
        )

    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str = WORKSPACE,
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command to its end, at most `timeout_s`; afterwards none of its processes is left.

        Args:
            command: A script for /bin/sh, or an argument vector.
            cwd: Absolute path inside the sandbox.
            timeout_s: Wall-clock seconds.
            env: Variables besides the sandbox's own, or instead of them.

        Raises:
            Rejected: the command is too long or contains NUL.
            SandboxUnavailable: the sandbox did not start; nothing has run.
        """
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        wanted = Command(argv, cwd, env or {})
        _check(wanted)
        started = time.monotonic()
        self.files.prepare()
        process = Process(
            self._bwrap,
            arguments(self._world, wanted),
            files=accounts(self._world),
            keep_bytes=self.limits.keep_bytes,
        )
        try:
            await process.release()
            stopped = await self._watch(process, started + timeout_s)
        finally:
            await asyncio.shield(process.end())
        if process.exit_code is None and stopped is None:
            raise SandboxUnavailable(
                clean(process.kept.content()).strip() or "bwrap gave no reason"
            )
        return Result(
            exit_code=process.exit_code if process.exit_code is not None else 137,
            output=process.kept.content(),
            dropped=process.kept.dropped,
            stopped=stopped,
            duration_ms=round((time.monotonic() - started) * 1000),
        )

    async def _watch(self, process: Process, deadline: float) -> Stop | None:
        """Wait for the command to exit, or say why it must be stopped now."""
        while (left := deadline - time.monotonic()) > 0:
            if await process.exits_within(min(_TICK_S, left)):
                return None
            if stop := await self._overstep(process):
                return stop
        return "timed_out"

    async def _overstep(self, process: Process) -> Stop | None:
        """Say which limit, of those that the kernel does not watch, the command is beyond."""
        kept = process.kept
        if kept.silent_s() > self.limits.prompt_silence_s and is_prompt(kept.last_line()):
            return "waits_for_input"
        memory = self.limits.memory_bytes
        if process.pid is not None and await asyncio.to_thread(exceeds, process.pid, memory):
            return "out_of_memory"
        disk = os.statvfs(self.files.root)
        reserve = min(self.limits.disk_reserve_bytes, disk.f_blocks * disk.f_frsize // 20)
        return "disk_full" if disk.f_bavail * disk.f_frsize < reserve else None


def _check(command: Command) -> None:
    """Refuse what cannot be handed to a process.

    Raises:
        Rejected: it contains NUL or a lone surrogate, or is too long.
    """
    texts = [*command.argv, command.cwd, *command.env, *command.env.values()]
    if any(clean(text) != text for text in texts):
        raise Rejected("a command cannot contain NUL or half a character")
    size = sum(len(text.encode()) for text in texts)
    if size > _ARGUMENT_BYTES:
        raise Rejected(
            f"the command has {size:,} bytes and {_ARGUMENT_BYTES:,} is the most; write a script "
            "to a file and run that"
        )
