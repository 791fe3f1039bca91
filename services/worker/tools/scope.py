"""What every tool of a worker is handed."""

from dataclasses import dataclass
from typing import Literal

from services.errors import SandboxUnavailable
from services.runtime.sandbox import Sandbox, Unavailable
from services.runtime.text import clean, cut
from services.runtime.tool import ToolOutput, ToolStatus


@dataclass(frozen=True, slots=True)
class WorkerScope:
    """Where one worker works, and how much of what it finds it is shown."""

    sandbox: Sandbox | Unavailable
    """The agent's sandbox, or why this machine has none."""
    shell_timeout_s: int = 60
    """Seconds for a command that names no limit of its own."""
    output_bytes: int = 50_000
    """Bytes of one result that the model is shown."""

    def confined(self) -> Sandbox:
        """Return the sandbox.

        Raises:
            SandboxUnavailable: there is none, so neither commands nor file edits are possible.
        """
        if isinstance(self.sandbox, Unavailable):
            raise SandboxUnavailable(str(self.sandbox))
        return self.sandbox

    def shown(
        self,
        text: str,
        *,
        status: ToolStatus = "ok",
        keep: Literal["start", "both"] = "start",
        full: bytes | None = None,
    ) -> ToolOutput:
        """Return `text` as a result that fits, with all of it beside it where it was cut.

        Args:
            text: The result.
            status: How the call went.
            keep: Which part of a long text is shown.
            full: What was produced, where that is more than `text`.
        """
        whole = clean(text)
        short = cut(whole, self.output_bytes, keep=keep)
        if full is None and short != whole:
            full = whole.encode()
        return ToolOutput(text=short, status=status, full=full)

    def failed(self, path: str, error: OSError) -> ToolOutput:
        """Return what the system said about a file."""
        return self.shown(f"{path}: {error.strerror or error}", status="error")
