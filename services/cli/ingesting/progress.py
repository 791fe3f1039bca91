"""What is shown while documents are read: bars on a terminal, lines elsewhere, JSON on demand."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.cli import output
from services.cli.ingesting.files import Found
from services.runtime.documents import Standing

if TYPE_CHECKING:
    from rich.progress import Progress as Bars, TaskID


class Progress:
    """Lines: one for each document, when its fate is known."""

    def handing_in(self, file: Found, hand_in: Callable[[Found], Standing]) -> Standing:
        """Show that a file is being sent, and send it."""
        return hand_in(file)

    def moved(self, standing: Standing) -> None:
        """Show how far a document is."""

    def settled(self, standing: Standing) -> None:
        """Show what became of a document."""
        stream = sys.stderr if standing.state == "refused" else sys.stdout
        stream.write(f"{line(standing)}\n")
        stream.flush()

    def summary(self, settled: Sequence[Standing], skipped: str) -> None:
        """Show what it came to."""
        print(summary(settled, skipped))


class JsonLines(Progress):
    """One line of JSON for each document."""

    def settled(self, standing: Standing) -> None:
        """Print how the document is."""
        output.line(standing)

    def summary(self, settled: Sequence[Standing], skipped: str) -> None:
        """Say nothing more: the lines are all there is."""


class Terminal(Progress):
    """A bar for all documents and one for each that is being read."""

    def __init__(self, bars: "Bars", files: int) -> None:
        self._bars = bars
        self._all = bars.add_task("documents", total=files)
        self._tasks: dict[str, TaskID] = {}

    def handing_in(self, file: Found, hand_in: Callable[[Found], Standing]) -> Standing:
        """Show the file's name while it is sent."""
        self._bars.update(self._all, description=output.one_line(file.name, 40))
        return hand_in(file)

    def moved(self, standing: Standing) -> None:
        """Move the document's bar."""
        task = self._tasks.get(standing.document_id)
        if task is None:
            name = output.one_line(standing.name, 40)
            task = self._tasks[standing.document_id] = self._bars.add_task(name, total=None)
        total = standing.to_store if standing.state == "split" else None
        self._bars.update(task, total=total, completed=standing.stored)

    def settled(self, standing: Standing) -> None:
        """Take the document's bar away, and leave its line."""
        if (task := self._tasks.pop(standing.document_id, None)) is not None:
            self._bars.remove_task(task)
        self._bars.console.print(line(standing), markup=False, highlight=False, soft_wrap=True)
        self._bars.advance(self._all)


@contextmanager
def progress(files: int, *, as_json: bool) -> Iterator[Progress]:
    """Lend what shows the progress of so many files."""
    if as_json:
        yield JsonLines()
    elif not sys.stdout.isatty():
        yield Progress()
    else:
        from rich.progress import (  # noqa: PLC0415 - for terminals only
            BarColumn,
            MofNCompleteColumn,
            Progress as Bars,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, transient=True) as bars:
            yield Terminal(bars, files)


def line(standing: Standing) -> str:
    """Return what became of a document, in a line."""
    name = output.one_line(standing.name, 200)
    if standing.state == "refused":
        return f"{name}: refused, {output.one_line(standing.detail, 400)}"
    if standing.state == "forgotten":
        return f"{name}: forgotten meanwhile"
    passages = output.plural(standing.chunks, "passage")
    if not standing.is_new:
        return f"{name}: known already, {passages}"
    return f"{name}: {passages}, {standing.stored:,} of them new or moved"


def summary(settled: Sequence[Standing], skipped: str) -> str:
    """Return what it came to, in a line."""
    refused = sum(standing.state == "refused" for standing in settled)
    stored = sum(standing.stored for standing in settled if standing.is_new)
    parts = [
        output.plural(len(settled), "document"),
        output.plural(stored, "new passage"),
        f"{refused:,} refused" if refused else "",
        f"skipped {skipped}" if skipped else "",
    ]
    return ", ".join(part for part in parts if part)
