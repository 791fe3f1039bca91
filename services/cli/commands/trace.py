"""`penstock trace`: the causal tree of a conversation, a turn or a run, from the log alone."""

import re
from typing import Final

import msgspec

from schemas.channel import TurnStarted
from schemas.subjects import matching, parse
from services.cli import output, selection
from services.cli.drawing import draw
from services.cli.exits import OK
from services.cli.installation import Installation
from services.cli.options import Options
from services.cli.story import Node, Story, total
from services.errors import Rejected
from services.runtime.event_log import EventLog

_RUN_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Trace(Options):
    """Arguments of `trace`."""

    what: str
    agent: str | None = None
    limit: int = 10


async def trace(options: Trace) -> int:
    """Print what led to what."""
    here = Installation(options)
    async with here.log() as log:
        roots = await _roots(log, here.tenant, options)
    if options.json:
        output.document({"roots": roots, "total": total(roots)})
    else:
        draw(roots)
    return OK


async def _roots(log: EventLog, tenant: str, options: Trace) -> list[Node]:
    """Return what is to be drawn.

    Raises:
        Rejected: the log knows nothing of it.
    """
    is_run = _RUN_ID.fullmatch(options.what) is not None
    if is_run and (found := await conversation_of(log, tenant, options.what)) is not None:
        story = await _story(log, found)
        if options.what in story.runs:
            return [_with_message(story, story.runs[options.what])]
    wanted = selection.pattern(tenant, agent=options.agent, conversation=options.what)
    roots = (await _story(log, wanted)).roots
    if not roots:
        raise Rejected(
            f"the log knows no conversation, turn or run {options.what!r}; `penstock events` lists "
            "what there is"
        )
    return roots[-options.limit :] if options.limit else roots


async def _story(log: EventLog, wanted: str) -> Story:
    story = Story()
    async for recorded in log.read(wanted, fresh=True):
        story.add(recorded)
    return story


async def conversation_of(log: EventLog, tenant: str, run_id: str) -> str | None:
    """Return the filter of the conversation that a run belongs to, or None."""
    last = await log.last(matching(tenant, id=run_id))
    if last is not None:  # a branch or a worker has a stream of its own, a turn has not
        return _conversation(last.subject)
    async for recorded in log.read(matching(tenant, entity="channel")):
        event = recorded.event
        if isinstance(event, TurnStarted) and event.turn_id == run_id:
            return _conversation(recorded.subject)
    return None


def _conversation(subject: str) -> str:
    where = parse(subject)
    return matching(where.tenant, where.agent, where.adapter, where.conversation)


def _with_message(story: Story, run: Node) -> Node:
    """Return the run, below the message that it answers where it answers one."""
    for root in story.roots:
        if root.kind in {"message", "fork"} and any(child is run for child in root.children):
            return msgspec.structs.replace(root, children=[run])
    return run
