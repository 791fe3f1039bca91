"""The machine: Python, programs, sandbox, disk, port, clock."""

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from services.cli.checks.finding import Finding, fail, ok, warn
from services.errors import ServiceError
from services.runtime import instance
from services.runtime.clock import Clock
from services.runtime.config import Config
from services.runtime.embedded import nats, postgres
from services.runtime.embedded.ports import is_free
from services.runtime.sandbox import Available, probe

OLDEST: Final = (3, 11)
LITTLE_BYTES: Final = 2_000_000_000  # free; a busy team's month
TOO_LITTLE_BYTES: Final = 200_000_000  # free; PostgreSQL's own files do not fit
AHEAD_S: Final = 5.0  # that a file may be younger than now, on a disk that others share
BEGAN_AT: Final = 1_700_000_000_000_000  # UTC microseconds; every clock that is right is past it


async def machine(config: Config, clock: Clock) -> AsyncIterator[Finding]:
    """Yield what there is to say about this machine."""
    yield _python()
    for finding in _programs():
        yield finding
    yield await _sandbox()
    yield _directory(config)
    yield _disk(config)
    yield _port(config)
    yield _clock(config, clock)


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= OLDEST:
        return ok("python", found)
    return fail("python", found, "Install Python 3.11 or later.")


def _programs() -> Iterator[Finding]:
    for name, find in (
        ("nats-server", nats.binary),
        ("postgres", lambda: postgres.programs() / "postgres"),
    ):
        try:
            path = find()
            said = subprocess.run(
                [path, "--version"], capture_output=True, text=True, check=True, timeout=20
            )
        except ServiceError as error:
            yield fail(name, str(error), "Install it, or name other servers in the configuration.")
        except (OSError, subprocess.SubprocessError) as error:
            yield fail(name, f"it does not start: {error}", "Reinstall it, with `make clean up`.")
        else:
            yield ok(name, said.stdout.strip())


async def _sandbox() -> Finding:
    found = await probe()
    if isinstance(found, Available):
        return ok("sandbox", f"{found.version} at {found.path}")
    text = f"commands cannot be confined, so workers get no shell and no files: {found.reason}"
    return warn("sandbox", text, found.fix)


def _directory(config: Config) -> Finding:
    """Look whether the directory, or the one it would be made in, can be written to."""
    wanted = config.data_dir.absolute()
    there = _existing(wanted)
    if not there.is_dir():
        return fail("data directory", f"{there} is not a directory", "Choose another: --data-dir.")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        text = f"{there} cannot be written to: {error.strerror}"
        return fail("data directory", text, "Change its owner, or choose another: --data-dir.")
    return ok("data directory", str(wanted) if there == wanted else f"{wanted}, made at the start")


def _disk(config: Config) -> Finding:
    free = shutil.disk_usage(_existing(config.data_dir.absolute())).free
    text = f"{free / 1e9:,.1f} GB free"
    if free < TOO_LITTLE_BYTES:
        return fail("disk", text, "Make room, or choose another disk with --data-dir.")
    if free < LITTLE_BYTES:
        return warn("disk", text, "Make room soon: the log grows.")
    return ok("disk", text)


def _existing(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _existing(path.parent)


def _port(config: Config) -> Finding:
    running = instance.find(config.data_dir)
    if running is not None and running.port is not None:
        return ok("port", f"{running.port}, used by process {running.pid}, which is ours")
    if is_free(config.port):
        return ok("port", f"{config.port} is free")
    fix = "Stop what uses it, or choose another with --port or PENSTOCK_PORT."
    return fail("port", f"{config.port} is taken by another program", fix)


def _clock(config: Config, clock: Clock) -> Finding:
    """Look whether the clock is obviously wrong: before our time, or before our own files."""
    now = clock.now()
    if now < BEGAN_AT:
        return fail("clock", "it is set to a time long ago", "Set it, best by NTP.")
    lock = config.data_dir / "lock"
    if lock.exists() and lock.stat().st_mtime > now / 1e6 + AHEAD_S:
        text = f"it went back: {lock} was written in the future"
        return warn("clock", text, "Set it, best by NTP; order is kept, times are not.")
    return ok("clock", "plausible")
