"""`penstock fork`: go on from a point of a conversation, and print what comes of it."""

import sys
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import msgspec

from schemas.subjects import FORK
from services.cli import output
from services.cli.chat.conversation import Conversation, client_of
from services.cli.chat.once import Exchange
from services.cli.exits import Misused
from services.cli.http import Unreachable
from services.cli.options import Options
from services.cli.people import login
from services.runtime.forking import Forked, new_name


class Fork(Options):
    """Arguments of `fork`."""

    conversation: str
    at: str | None = None
    model: str | None = None
    prompt: Path | None = None
    message: str | None = None
    author: str | None = None
    name: str | None = None
    agent: str = "main"
    timeout: float = 300.0


def fork(options: Fork) -> int:
    """Begin a fork and wait until it has settled."""
    deadline = monotonic() + options.timeout
    prompt = _text(options.prompt.expanduser()) if options.prompt else None
    client = client_of(options)
    name = options.name or new_name(options.conversation.rpartition("/")[2])
    fields = {"of": options.conversation, "at": options.at, "name": name, "prompt": prompt}
    fields |= {"model": options.model, "message": options.message, "author": options.author}
    path = f"/api/v1/agents/{quote(options.agent, safe='')}/forks"
    try:
        begun = msgspec.convert(client.post(path, fields), Forked)
    except Unreachable as error:
        raise Unreachable(f"{error}; with --name {name} it is the same fork") from error
    there = f"{FORK}/{begun.conversation}"
    if options.json:
        output.line({"event": "forked", "data": begun})
    else:
        _remark(f"{there} shares {begun.of} up to event {begun.at_seq}")
    conversation = Conversation(client, options.agent, there, options.author or login())
    exchange = Exchange(
        conversation,
        timeout_s=options.timeout,
        as_json=options.json,
        drafts=sys.stdout.isatty() and not options.json,
    )
    code = exchange.follow(begun.seq, deadline)
    if not options.json:
        _remark(f"compare them: penstock diff {options.conversation} {there}")
    return code


def _text(path: Path) -> str:
    """Return what a file says.

    Raises:
        Misused: it is no text.
        OSError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Misused(f"{path} is no text in UTF-8") from None


def _remark(text: str) -> None:
    sys.stderr.write(f"{output.visible(text)}\n")
    sys.stderr.flush()
