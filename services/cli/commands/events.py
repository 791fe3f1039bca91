"""`penstock events`: what is in the log, line by line."""

import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from schemas.catalogue import EVENTS
from schemas.subjects import InvalidToken, parse
from services.cli import output, selection
from services.cli.exits import OK
from services.cli.gist import gist
from services.cli.installation import Installation
from services.cli.options import Options
from services.errors import Rejected
from services.runtime.event_log import EventLog, Recorded

FIRST_WINDOW: Final = 2_000  # sequences looked back at for the newest events; then eight times more
WIDTH: Final = 140  # of a line, where there is no terminal to ask


class Events(Options):
    """Arguments of `events`."""

    conversation: str | None = None
    agent: str | None = None
    type: list[str] | None = None
    follow: bool = False
    after: int | None = None
    limit: int = 50


async def events(options: Events) -> int:
    """Print events, and with `follow` those to come."""
    unknown = set(options.type or ()) - EVENTS.keys()
    if unknown:
        raise Rejected(f"no event type {min(unknown)!r}; `penstock schema` lists them")
    here = Installation(options)
    wanted = selection.pattern(here.tenant, agent=options.agent, conversation=options.conversation)
    async with here.log() as log:
        last = options.after or 0
        async for recorded in _past(log, wanted, options):
            _show(recorded, as_json=options.json)
            last = recorded.seq
        if options.follow:
            async for recorded in log.tail(wanted, after=await _end(log, wanted, last)):
                if _is_wanted(recorded, options):
                    _show(recorded, as_json=options.json)
    return OK


async def _past(log: EventLog, wanted: str, options: Events) -> AsyncIterator[Recorded]:
    if options.after is None and options.limit:
        for recorded in await _newest(log, wanted, options):
            yield recorded
        return
    left = options.limit
    async for recorded in log.read(wanted, after=options.after or 0, fresh=True):
        if _is_wanted(recorded, options):
            yield recorded
            left -= 1
            if left == 0 and not options.follow:
                return


async def _newest(log: EventLog, wanted: str, options: Events) -> list[Recorded]:
    """Return the newest events, by looking back further until there are enough."""
    last = await log.last(wanted, fresh=True)
    end = last.seq if last else 0
    window = FIRST_WINDOW
    while True:
        found: deque[Recorded] = deque(maxlen=options.limit)
        async for recorded in log.read(wanted, after=max(0, end - window), until=end, fresh=True):
            if _is_wanted(recorded, options):
                found.append(recorded)
        if len(found) == options.limit or window >= end:
            return list(found)
        window *= 8


async def _end(log: EventLog, wanted: str, last: int) -> int:
    """Return where to follow from: events of other types may come after the last one shown."""
    if last:
        return last
    newest = await log.last(wanted, fresh=True)
    return newest.seq if newest else 0


def _is_wanted(recorded: Recorded, options: Events) -> bool:
    return not options.type or recorded.envelope.type in options.type


def _show(recorded: Recorded, *, as_json: bool) -> None:
    if as_json:
        event = msgspec.Raw(recorded.body) if recorded.problem is None else None
        output.line({"seq": recorded.seq, "subject": recorded.subject, "event": event})
        return
    envelope = recorded.envelope
    head = (
        f"{recorded.seq:>7}  {output.when(envelope.at)}  {_stream(recorded.subject):<32}  "
        f"{envelope.type:<17}  "
    )
    width = shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else WIDTH
    print(f"{head}{gist(recorded.event, max(20, width - len(head)))}", flush=True)


def _stream(subject: str) -> str:
    try:
        return selection.label(parse(subject))
    except InvalidToken:
        return subject
