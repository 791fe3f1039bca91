"""The tool `shell`: run a command in the agent's sandbox.

A command that ran to its end gives status `ok` whatever its exit code, which the model is shown;
`error` means that we stopped it.
"""

import posixpath
import re
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from services.errors import Rejected
from services.runtime.sandbox import Result, Stop
from services.runtime.text import clean
from services.runtime.tool import Tool, ToolOutput
from services.worker.tools.scope import WorkerScope

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOADERS: Final = ("LD_", "DYLD_")
_INJECTORS: Final = frozenset(
    {
        *("BASH_ENV", "BASHOPTS", "ENV", "GCONV_PATH", "IFS", "PROMPT_COMMAND", "SHELLOPTS"),
        *("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "NODE_OPTIONS", "NODE_PATH"),
        *("PERL5DB", "PERL5LIB", "PERL5OPT", "PERLLIB", "RUBYLIB", "RUBYOPT"),
        *("PYTHONHOME", "PYTHONINSPECT", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE"),
    }
)
_STOPPED: Final[dict[Stop, str]] = {
    "timed_out": "stopped after {seconds} s, its time limit",
    "waits_for_input": "stopped: it waited for input, which nobody can type; answer by an option "
    "or through a pipe",
    "out_of_memory": "stopped: its processes used more than {memory_mib:,} MiB of memory together",
    "disk_full": "stopped: the disk is nearly full",
}


class Variable(Struct, frozen=True, kw_only=True):
    """One environment variable."""

    key: str
    value: str


class ShellArguments(Struct, frozen=True, kw_only=True):
    """Arguments of `shell`."""

    command: Annotated[str, Meta(min_length=1, description="Script for /bin/sh.")]
    working_dir: Annotated[
        str, Meta(description="Directory to start in, relative to /workspace or absolute.")
    ] = "."
    timeout_seconds: (
        Annotated[
            int,
            Meta(ge=1, le=300, description="Seconds until it is stopped; left out, about 60."),
        ]
        | UnsetType
    ) = UNSET
    env: Annotated[
        tuple[Variable, ...], Meta(description="Environment variables to set for the command.")
    ] = ()


async def run(scope: WorkerScope, call_id: str, arguments: ShellArguments) -> ToolOutput:
    """Run the command and show its exit code and output.

    Raises:
        Rejected: a variable could load code into the command, or the command is malformed.
        SandboxUnavailable: commands cannot be confined here.
    """
    del call_id
    sandbox = scope.confined()
    seconds = scope.shell_timeout_s
    if arguments.timeout_seconds is not UNSET:
        seconds = arguments.timeout_seconds
    result = await sandbox.run(
        arguments.command,
        cwd=posixpath.join("/workspace", arguments.working_dir),
        timeout_s=seconds,
        env=_checked(arguments.env),
    )
    memory_mib = sandbox.limits.memory_bytes >> 20
    head = _head(result).format(seconds=seconds, memory_mib=memory_mib)
    return scope.shown(
        f"{head}\n{clean(result.output)}".rstrip("\n"),
        status="ok" if result.stopped is None else "error",
        keep="both",
    )


def _head(result: Result) -> str:
    """Return the first line of what the model is shown."""
    if result.stopped is None:
        return f"exit code {result.exit_code}"
    return _STOPPED[result.stopped] + ("; output so far:" if result.output else "; no output")


def _checked(variables: tuple[Variable, ...]) -> dict[str, str]:
    """Return the variables by name.

    Raises:
        Rejected: a name is none, or makes programs load code that the command does not show.
    """
    for name in (variable.key for variable in variables):
        if not _NAME.fullmatch(name):
            raise Rejected(f"{name!r} is not the name of an environment variable")
        if name.upper().startswith(_LOADERS) or name.upper() in _INJECTORS:
            raise Rejected(f"{name} may not be set: it makes programs load other code")
    return {variable.key: variable.value for variable in variables}


SHELL: Final[Tool[WorkerScope, ShellArguments]] = Tool(
    name="shell",
    description=(
        "Run a shell command and get its exit code with standard output and error together. It "
        "starts in /workspace, the only place whose files last: /tmp is empty at every call, the "
        "rest is read-only, and background processes end with the command. Nothing can be typed "
        "into it."
    ),
    arguments=ShellArguments,
    run=run,
)
