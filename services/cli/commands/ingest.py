"""`penstock ingest`: hand in files and folders, and see what becomes of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Final, TypeVar

import msgspec

from schemas.base import DocumentId
from services.cli import output
from services.cli.chat.conversation import client_of
from services.cli.exits import FAILED, OK, Misused
from services.cli.http import Unreachable
from services.cli.ingesting.client import Documents
from services.cli.ingesting.files import Found, found
from services.cli.ingesting.progress import Progress, progress
from services.cli.options import Options
from services.errors import Rejected
from services.runtime.documents import Standing

AHEAD: Final = 8  # documents that are handed in before the first of them has been read
POLL_S: Final = 0.1
RETRY_S: Final = 1.0


AWAY_S: Final = 60.0  # an installation that is restarted is back by then
T = TypeVar("T")


class Ingest(Options):
    """Arguments of `ingest`."""

    paths: list[Path]
    agent: str = "main"
    timeout: float = 300.0


class Overdue(Rejected):
    """Nothing moved for too long."""


def ingest(options: Ingest) -> int:
    """Hand everything in, wait until it can be found, and say what could not be read."""
    files, skipped = found(options.paths)
    if not files:
        raise Misused("there is no document there" + (f"; skipped: {skipped}" if skipped else ""))
    documents = Documents(client_of(options), options.agent)
    documents.check_agent()
    with progress(len(files), as_json=options.json) as shown:
        settled = list(_settled(documents, files, shown, options.timeout))
    refused = sum(standing.state == "refused" for standing in settled)
    shown.summary(settled, skipped)
    return FAILED if refused else OK


def _settled(
    documents: Documents, files: Sequence[Found], shown: Progress, timeout_s: float
) -> Iterator[Standing]:
    """Yield each document once nothing more happens to it; hand in a few ahead of that.

    Raises:
        Overdue: none of them moved for so long.
    """
    waiting: dict[str, Standing] = {}
    rest = iter(files)
    moved_at = monotonic()
    while True:
        while len(waiting) < AHEAD and (file := next(rest, None)) is not None:
            standing = shown.handing_in(file, partial(_handed_in, documents))
            moved_at = monotonic()
            if standing.is_settled:
                shown.settled(standing)
                yield standing
            else:
                waiting[standing.document_id] = standing
        if not waiting:
            return
        for id_, before in list(waiting.items()):
            now = _patiently(documents.standing, id_)
            standing = msgspec.structs.replace(now, is_new=before.is_new)
            if standing.seq != before.seq:
                moved_at = monotonic()
                waiting[id_] = standing
                shown.moved(standing)
            if standing.is_settled:
                del waiting[id_]
                shown.settled(standing)
                yield standing
        if waiting and monotonic() - moved_at > timeout_s:
            names = ", ".join(standing.name for standing in waiting.values())
            raise Overdue(
                f"nothing happened for {timeout_s:g} s; is the ingest service running? Still "
                f"waiting, and kept: {output.one_line(names, 200)}"
            )
        if waiting:
            sleep(POLL_S)


def _handed_in(documents: Documents, file: Found) -> Standing:
    """Hand in a file; one that cannot be read, or is not taken, is no reason to stop."""
    try:
        return _patiently(documents.hand_in, file)
    except Unreachable:
        raise
    except Rejected as error:
        detail = str(error)
    except OSError as error:
        detail = f"it cannot be read: {error.strerror}"
    return Standing(document_id=DocumentId(""), name=file.name, state="refused", detail=detail)


def _patiently(ask: Callable[[T], Standing], about: T) -> Standing:
    """Ask again while the installation is away for a moment; every question may be repeated.

    Raises:
        Unreachable: it stays away.
    """
    deadline = monotonic() + AWAY_S
    while True:
        try:
            return ask(about)
        except Unreachable:
            if monotonic() > deadline:
                raise
        sleep(RETRY_S)
