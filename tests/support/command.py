"""`penstock` as a process: one that ends, and one that runs until it is stopped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.runtime.embedded.ports import choose

PATIENCE_S = 60
KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY")


def environment(**more: str) -> dict[str, str]:
    """Return our environment without what would configure an installation."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PENSTOCK_") and name not in {*KEYS, "OPENAI_API_BASE"}
    }
    return kept | {"NO_COLOR": "1", "PENSTOCK_EMBEDDINGS_FETCH": "false", **more}


def _hear_interrupts() -> None:
    """Undo what a shell does to its background jobs, which ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its output as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its output as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Place:
    """A data directory, and commands about it."""

    data_dir: Path
    cwd: Path
    port: int

    def arguments(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "services.cli", *words, "--data-dir", str(self.data_dir)]

    def run(self, *words: str, stdin: str = "", **variables: str) -> Result:
        """Run a command to its end."""
        done = subprocess.run(
            self.arguments(*words),
            cwd=self.cwd,
            env=environment(**variables),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command that stays, and stop it if the test has not."""
        process = subprocess.Popen(
            self.arguments(*words),
            cwd=self.cwd,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_interrupts,  # noqa: PLW1509 - nothing else runs in this process
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    @contextmanager
    def up(self, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Lend `penstock up` once it is ready; its first line is its announcement."""
        words = ("up", "--json", "--port", str(self.port))
        with self.running(*words, **variables) as process:
            first = process.stdout.readline()
            assert json.loads(first or "{}").get("event") == "ready", process.stderr.read()
            yield process


def place(folder: Path) -> Place:
    """Return a place of its own below `folder`."""
    return Place(folder / "data", folder, choose())
