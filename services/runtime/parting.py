"""Where a fork parts from a conversation, and what it then has to answer. Pure.

Consumes:  the channel events of a conversation, shared ones included; where somebody wants to part
Emits:     the last event that is shared, and what is asked in the fork
Never:     goes on with a turn that is open there
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

from schemas.base import EventId
from schemas.channel import ConversationForked, MessageReceived, TurnCompleted, TurnFailed
from services.errors import Rejected
from services.runtime.conversation import Conversation, evolve
from services.runtime.event_log import Recorded
from services.runtime.lineage import DEEPEST

_MESSAGE: Final = re.compile(r"(before )?message[ :]?([0-9]{1,9})", re.IGNORECASE)
_SEQUENCE: Final = re.compile(r"(?!0.{7})[0-9]{1,30}")  # the ids of these years begin with a nought
_ID: Final = re.compile(r"[0-9a-fA-F][0-9a-fA-F-]{7,35}")


class InvalidFork(Rejected):
    """Nothing can be forked like this."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a fork parts."""

    event: Recorded
    """The last one that is shared."""
    state: Conversation
    """The conversation as it was then."""
    handled: tuple[EventId, ...]
    """What the turn that was open then had answered."""
    next: MessageReceived | None
    """What a person said next."""

    @property
    def asks(self) -> bool:
        """Tell whether something that is shared has still to be answered."""
        return any(trigger.id not in self.handled for trigger in self.state.unhandled)


def decide(events: Sequence[Recorded], at: str | None, *, end: int) -> Point:
    """Return where a fork parts.

    Args:
        events: The channel events of the conversation, shared ones first; at least one.
        at: A sequence, an event's id or the beginning of it, `message 3`, `before message 3`; None
            for the newest.
        end: Sequence of the newest event of the conversation, those of its runs included.

    Raises:
        InvalidFork: there is no such point, or nobody can fork there.
    """
    place = _place(events, at.strip(), end) if at is not None else len(events) - 1
    state = reduce(evolve, events[: place + 1], Conversation())
    if state.job is not None:
        raise InvalidFork(
            "the runs of a job cannot be forked: fork the conversation that it reports to"
        )
    if sum(isinstance(it.event, ConversationForked) for it in events[: place + 1]) >= DEEPEST:
        raise InvalidFork(f"there are {DEEPEST} forks of forks here already")
    later = events[place + 1 :]
    return Point(events[place], state, _answered(state, later), _next(state, later))


def _place(events: Sequence[Recorded], at: str, end: int) -> int:
    if (number := _MESSAGE.fullmatch(at)) is not None:
        return _of_message(events, int(number[2]), before=bool(number[1]))
    if _SEQUENCE.fullmatch(at) is not None:
        return _of_sequence(events, int(at), end)
    if _ID.fullmatch(at) is not None:
        return _of_id(events, at.lower())
    raise InvalidFork(
        f"a fork parts at a sequence number, an event id or `message 3`; {at[:80]!r} is none"
    )


def _of_sequence(events: Sequence[Recorded], seq: int, end: int) -> int:
    if seq < events[0].seq:
        raise InvalidFork(f"the conversation begins at event {events[0].seq}, behind {seq}")
    if seq > end:
        raise InvalidFork(f"the conversation ends at event {end}, before {seq}")
    return max(index for index, it in enumerate(events) if it.seq <= seq)


def _of_message(events: Sequence[Recorded], number: int, *, before: bool) -> int:
    places = list(_messages(events))
    if not 1 <= number <= len(places):
        raise InvalidFork(f"there is no message {number}: people said {len(places)} so far")
    place = places[number - 1] - before
    if place < 0:
        raise InvalidFork(f"nothing is before message {number}: a fork shares something")
    return place


def _messages(events: Sequence[Recorded]) -> Iterator[int]:
    seen: set[str] = set()
    for index, recorded in enumerate(events):
        event = recorded.event
        if isinstance(event, MessageReceived) and event.message_id not in seen:
            seen.add(event.message_id)
            yield index


def _of_id(events: Sequence[Recorded], id_: str) -> int:
    found = [index for index, it in enumerate(events) if it.envelope.id.startswith(id_)]
    if not found:
        raise InvalidFork(
            f"no event of the conversation itself is called {id_}; a step of a run is none"
        )
    if len({events[index].envelope.id for index in found}) > 1:
        raise InvalidFork(f"several events begin with {id_}: give more of it")
    return found[0]


def _answered(state: Conversation, later: Sequence[Recorded]) -> tuple[EventId, ...]:
    """Return what the open turn had answered, where it had: its end says it best."""
    turn = state.turn
    if turn is None or not turn.answered:
        return ()
    waiting = tuple(trigger.id for trigger in state.unhandled)
    for recorded in later:
        match recorded.event:
            case TurnCompleted(turn_id=id_, handled=done) | TurnFailed(turn_id=id_, handled=done):
                if id_ == turn.turn_id:
                    return tuple(each for each in waiting if each in done)
            case _:
                pass
    return tuple(trigger.id for trigger in state.taken_in)


def _next(state: Conversation, later: Sequence[Recorded]) -> MessageReceived | None:
    for recorded in later:
        event = recorded.event
        if isinstance(event, MessageReceived) and event.message_id not in state.seen:
            return event
    return None
