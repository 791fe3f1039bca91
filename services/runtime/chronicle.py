"""The checkpoints of one conversation: which follow on one another, and what a model is shown.

Pure. A chronicle is in the order of what its checkpoints cover: the highest rollups first, the
newest checkpoint last, each beginning where the one before ends.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.base import BodyRef, Content, EventId, Microseconds
from schemas.channel import CheckpointCut, CheckpointKind
from services.runtime.event_log import Recorded

CHARS_PER_TOKEN: Final = 4  # the usual estimate for English
LONGEST: Final = 50_000  # characters of one text that a model is shown
SHOWN_TOKENS: Final = (
    2_000  # for summaries in full; beyond it the older ones have their title alone
)
TITLE_CHARS: Final = 80


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of the history that a summary stands for."""

    id: EventId
    """Of the event that cut it."""
    seq: int
    number: int
    """Counts the checkpoints of a conversation from 1, in the order in which they were cut."""
    after: EventId | None
    until: EventId
    title: str
    summary: Content
    kind: CheckpointKind = "interval"
    level: int = 0
    entries: int = 0
    tokens: int = 0
    first_at: Microseconds = 0
    last_at: Microseconds = 0
    model: str = ""
    sources: tuple[int, ...] = ()
    """Numbers of the checkpoints that a rollup stands for."""


def end(chronicle: Sequence[Checkpoint]) -> EventId | None:
    """Return the last event that is covered, or None."""
    return chronicle[-1].until if chronicle else None


def follows(chronicle: Sequence[Checkpoint], cut: CheckpointCut) -> bool:
    """Tell whether a new checkpoint begins where the chronicle ends, or rolls up a part of it."""
    if not cut.sources:
        return cut.level == 0 and cut.after == end(chronicle) and cut.until != cut.after
    place = _place(chronicle, cut.sources)
    if place is None:
        return False
    rolled = chronicle[place]
    same = all(one.level + 1 == cut.level for one in rolled)
    return same and (cut.after, cut.until) == (rolled[0].after, rolled[-1].until)


def extended(
    chronicle: tuple[Checkpoint, ...], recorded: Recorded, cut: CheckpointCut, number: int
) -> tuple[Checkpoint, ...]:
    """Return the chronicle with a checkpoint that follows."""
    place = _place(chronicle, cut.sources) or slice(len(chronicle), None)
    new = Checkpoint(
        id=recorded.envelope.id,
        seq=recorded.seq,
        number=number,
        after=cut.after,
        until=cut.until,
        title=cut.title,
        summary=cut.summary,
        kind=cut.kind,
        level=cut.level,
        entries=cut.entries,
        tokens=cut.tokens,
        first_at=cut.first_at,
        last_at=cut.last_at,
        model=cut.model,
        sources=tuple(one.number for one in chronicle[place]),
    )
    return (*chronicle[: place.start], new, *chronicle[place.start + len(new.sources) :])


def _place(chronicle: Sequence[Checkpoint], sources: Sequence[EventId]) -> slice | None:
    """Return where these checkpoints stand beside one another, or None."""
    known = [one.id for one in chronicle]
    if not sources or sources[0] not in known:
        return None
    start = known.index(sources[0])
    place = slice(start, start + len(sources))
    return place if known[place] == list(sources) else None


def in_full(chronicle: Sequence[Checkpoint], budget: int = SHOWN_TOKENS) -> frozenset[int]:
    """Return the numbers of those whose summary is shown: rollups, then the newest, in a budget.

    Args:
        chronicle: In its order.
        budget: Tokens, about, that all summaries may have. The newest one is always shown.
    """
    shown: set[int] = set()
    rollups = [one for one in chronicle if one.level]
    recent = [one for one in reversed(chronicle) if not one.level]
    for one in (*recent[:1], *reversed(rollups), *recent[1:]):
        budget -= estimated_tokens(one.summary)
        if budget < 0 and shown:
            break
        shown.add(one.number)
    return frozenset(shown)


def heading(one: Checkpoint) -> str:
    """Return the line that stands for a checkpoint in a list."""
    place = f"#{one.number}"
    if one.sources:
        place += f" (of #{one.sources[0]} to #{one.sources[-1]})"
    return f"{place} {span(one)}, {one.entries:,} entries: {one.title}"


def span(one: Checkpoint) -> str:
    """Return from when to when a checkpoint reaches."""
    first, last = moment(one.first_at), moment(one.last_at)
    if first[:10] == last[:10]:
        last = last[11:]
    return f"{first} to {last} UTC"


def moment(at: Microseconds) -> str:
    """Return a time, to the minute."""
    return f"{datetime.fromtimestamp(at / 1_000_000, UTC):%Y-%m-%d %H:%M}"


def estimated_tokens(content: Content) -> int:
    """Return about how many tokens a text has, as far as a model is shown it."""
    size = content.bytes if isinstance(content, BodyRef) else len(content)
    return min(size, LONGEST) // CHARS_PER_TOKEN
