"""The bubblewrap program of this machine, or a skip where the machine cannot run it."""

import subprocess
from pathlib import Path

import pytest

from services.runtime.sandbox import Available, probe
from services.runtime.sandbox.probe import _installed


@pytest.fixture
async def bwrap() -> Path:
    """Return a program that works; skip only where it does not work without us either."""
    found = await probe()
    if isinstance(found, Available):
        return found.path
    if any(map(starts, _installed())):
        pytest.fail(f"bubblewrap starts here, but: {found}")
    pytest.skip(str(found))


def starts(path: Path) -> bool:
    """Say whether the program can make namespaces at all."""
    command = [str(path), "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
