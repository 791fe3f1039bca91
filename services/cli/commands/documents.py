"""`penstock documents`: which documents an agent can search, and letting it forget one."""

from typing import Any, Final

from services.cli import output
from services.cli.chat.conversation import client_of
from services.cli.exits import OK
from services.cli.ingesting.client import Documents
from services.cli.options import Options
from services.errors import Rejected

EVERY: Final = 1_000_000  # more than anyone has


class Listing(Options):
    """Arguments of `documents list`."""

    agent: str = "main"
    limit: int = 50


class Forget(Options):
    """Arguments of `documents forget`."""

    id: str
    reason: str = ""
    agent: str = "main"


def listing(options: Listing) -> int:
    """Print documents, last changed first."""
    found = Documents(client_of(options), options.agent).listing(options.limit)
    if options.json:
        output.document(found)
    elif not found:
        print("No document.")
    else:
        headings = ("id", "changed at", "state", "passages", "bytes", "document")
        output.table(headings, [_row(each) for each in found])
    return OK


def forget(options: Forget) -> int:
    """Put on the log that a document is forgotten."""
    documents = Documents(client_of(options), options.agent)
    document = _one(documents, options.id)
    standing = documents.forget(document["document_id"], options.reason)
    if options.json:
        output.document(standing)
    else:
        print(f"Forgotten: {output.one_line(document['name'], 200)}")
    return OK


def _one(documents: Documents, wanted: str) -> dict[str, Any]:
    """Return the document whose id is, or begins with, what was given; or whose name it is."""
    there = documents.listing(EVERY)
    found = [each for each in there if each["document_id"].startswith(wanted)]
    found = found or [each for each in there if each["name"] == wanted]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Rejected(f"no document {wanted!r}; see `penstock documents list`")
    names = ", ".join(each["document_id"] for each in found[:5])
    raise Rejected(f"{wanted!r} is the beginning of {len(found)} ids: {names}")


def _row(document: dict[str, Any]) -> tuple[str, ...]:
    why = f" ({output.one_line(document['detail'])})" if document["state"] == "refused" else ""
    return (
        document["document_id"],
        output.when(document["changed_at"]),
        document["state"],
        f"{document['chunks']:,}",
        f"{document['bytes']:,}",
        output.one_line(document["name"]) + why,
    )
