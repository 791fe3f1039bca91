"""A conversation as it reads from its beginning: what a fork shares with others comes first."""

from collections.abc import AsyncIterator
from typing import Final

from schemas.base import EventId
from schemas.channel import ConversationForked
from schemas.subjects import Subject
from services.errors import Rejected
from services.runtime.behind import behind
from services.runtime.event_log import EventLog, Recorded

DEEPEST: Final = 50  # forks of forks; more are a circle, which nobody of ours makes


class HistoryMissing(Rejected):
    """What a fork shares is not in the log: the other conversation was not imported, or is gone."""


def parent_of(fork: Subject, event: ConversationForked) -> Subject:
    """Return the conversation that a fork shares the history of, its channel stream."""
    return Subject(fork.tenant, fork.agent, event.adapter, event.conversation)


async def ancestors(event_log: EventLog, conversation: Subject) -> list[Subject]:
    """Return the channel streams that a conversation shares history with, the nearest first."""
    found: list[Subject] = []
    here: Subject | None = conversation
    while here is not None and len(found) < DEEPEST:
        async for recorded in event_log.read(str(here.channel), fresh=True):
            forked = recorded.event
            here = parent_of(here, forked) if isinstance(forked, ConversationForked) else None
            break
        else:
            here = None
        if here is not None:
            found.append(here)
    return found


async def told(
    event_log: EventLog,
    conversation: Subject,
    *,
    after: int = 0,
    at: EventId | None = None,
    until: int | None = None,
    fresh: bool = False,
) -> AsyncIterator[Recorded]:
    """Yield a conversation's channel events, behind a sequence of its own or from the beginning.

    Args:
        event_log: Where they are.
        conversation: Any stream of it.
        after: Sequence of its own to start behind; 0 for the beginning, shared history included.
        at: The event there, where it is known.
        until: Last sequence of its own.
        fresh: As for the log; what is shared is always read in full.

    Raises:
        HistoryMissing: it is a fork, and what it shares is not there.
        HistoryGone: the event to start behind is not there.
    """
    async for recorded in _told(event_log, conversation, after, at, until, fresh=fresh, deep=0):
        yield recorded


async def _told(  # noqa: PLR0913 - what `told` takes
    event_log: EventLog,
    conversation: Subject,
    after: int,
    at: EventId | None,
    until: int | None,
    *,
    fresh: bool,
    deep: int,
) -> AsyncIterator[Recorded]:
    own = behind(event_log, str(conversation.channel), after, at, until=until, fresh=fresh)
    may_share = after == 0
    async for recorded in own:
        if may_share and isinstance(recorded.event, ConversationForked):
            parent = parent_of(conversation, recorded.event)
            async for shared in _up_to(event_log, parent, recorded.event.at, deep=deep + 1):
                yield shared
        may_share = False
        yield recorded


async def _up_to(
    event_log: EventLog, parent: Subject, at: EventId, *, deep: int
) -> AsyncIterator[Recorded]:
    if deep <= DEEPEST:
        async for recorded in _told(event_log, parent, 0, None, None, fresh=True, deep=deep):
            yield recorded
            if recorded.envelope.id == at:
                return
    raise HistoryMissing(
        f"it is a fork of {parent.adapter}/{parent.conversation} at event {at}, which is not in "
        "the log"
    )
