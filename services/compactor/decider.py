"""When a conversation is compacted, and how much of it.

Consumes:  the fold of a channel stream, what the newest turn's requests were counted as
Emits:     a part to summarise, a part to leave out at once, checkpoints to roll up
Never:     calls a model, touches the open turn or what has still to be answered
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from schemas.base import EventId
from schemas.channel import CheckpointKind
from services.compactor import usage
from services.compactor.usage import Counted
from services.runtime.chronicle import Checkpoint
from services.runtime.conversation import Conversation, Entry

BACKGROUND_SHARE: Final = 0.30  # of the history, when there is time
LARGER_SHARE: Final = 0.50  # of the history, when there is little, and in an emergency
KEPT: Final = 4  # newest entries that stay: what the talk is about
SPAN_SHARE: Final = 0.40  # of the window, most that one summary is made of
BACKOFF_S: Final = 60.0  # after a failure, doubled for each one more
LONGEST_BACKOFF_S: Final = 3_600.0
HALVINGS: Final = 3  # how often the part is halved after failures: it may have been too long
FORGOTTEN_S: Final = 3_600.0  # an older compaction is given up: it may take ten minutes in all
SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a conversation may fill."""

    window_tokens: int
    keep: int
    """Entries that the channel keeps; at twice as many it forgets the older half."""
    background: float = 0.80
    larger: float = 0.85
    emergency: float = 0.95
    rollup_at: int = 12
    """Checkpoints of one level at which the oldest become one."""
    rollup_of: int = 8


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a conversation that a checkpoint shall stand for."""

    kind: CheckpointKind
    after: EventId | None
    until: EventId
    entries: tuple[Entry, ...] = ()
    """What it covers; empty for a rollup."""
    sources: tuple[Checkpoint, ...] = ()
    """Rollups alone."""

    @property
    def level(self) -> int:
        """Return the level of the checkpoint."""
        return self.sources[0].level + 1 if self.sources else 0


def decide(state: Conversation, count: Counted | None, limits: Limits, *, now: int) -> Part | None:
    """Return what shall be done next, or None.

    Args:
        state: The fold of the whole channel stream: nothing but checkpoints shortens its history.
        count: What the newest turn's first request was counted as.
        limits: What the conversation may fill.
        now: UTC microseconds.
    """
    if state.job is not None:
        return None  # each run of a job begins afresh, and leaves nothing behind when it ends
    by_tokens = usage.tokens(state, count) / limits.window_tokens
    by_entries = len(state.entries) / (2 * limits.keep)
    if count is not None and count.overflowed and not _cut_since(state, count):
        by_tokens = max(by_tokens, 1.0)
    # Beyond twice `keep` the channel has forgotten the rest already; nothing is saved by haste.
    hurry = max(by_tokens, by_entries if by_entries <= 1.0 else 0.0)
    if hurry >= limits.emergency:
        return part(state, "emergency", LARGER_SHARE, by_number=by_entries >= by_tokens)
    if _is_busy(state, now):
        return None
    fullness = max(by_tokens, by_entries)
    if fullness >= limits.background:
        share = LARGER_SHARE if fullness >= limits.larger else BACKGROUND_SHARE
        by_number = by_entries > by_tokens
        kind: CheckpointKind = "interval" if by_number else "pressure"
        share *= 0.5 ** min(state.compaction_failures, HALVINGS)
        most = round(SPAN_SHARE * limits.window_tokens)
        return part(state, kind, share, by_number=by_number, most_tokens=most)
    return _rollup(state, limits)


def part(
    state: Conversation,
    kind: CheckpointKind,
    share: float,
    *,
    by_number: bool,
    most_tokens: int | None = None,
    kept: int = KEPT,
) -> Part | None:
    """Return the oldest part of the history, about a share of it, or None when none can go.

    It ends where a turn or an answer ends, before the open turn and before whatever has still to
    be answered. It has at least one entry that no checkpoint covers.

    Args:
        state: The conversation.
        kind: Why.
        share: Of the number of entries, or of their tokens.
        by_number: Which of the two.
        most_tokens: About how many tokens it may have in all.
        kept: How many entries, the newest, it must leave alone.
    """
    entries = state.entries[: min(_settled(state), max(0, len(state.entries) - kept))]
    weigh: Callable[[Entry], int] = (lambda _: 1) if by_number else usage.of_entry
    wanted = share * sum(map(weigh, state.entries))
    ends = [index for index in range(1, len(entries) + 1) if _may_end(state.entries, index)]
    if most_tokens is not None:
        sizes = [0, *accumulate(map(usage.of_entry, entries))]
        ends = [end for end in ends if sizes[end] <= most_tokens] or ends[:1]
    if not ends:
        return None
    weights = [0, *accumulate(map(weigh, entries))]
    end = next((end for end in ends if weights[end] >= wanted), ends[-1])
    covered = entries[:end]
    return Part(kind, state.covered, covered[-1].id, covered)


def _settled(state: Conversation) -> int:
    """Return how many entries, from the oldest, have their place for ever and are answered."""
    waiting = {trigger.id for trigger in state.unhandled}
    start = state.turn.seq if state.turn is not None else None
    for index, entry in enumerate(state.entries):
        if entry.id in waiting or (start is not None and entry.seq > start):
            return index
    return len(state.entries)


def _may_end(entries: Sequence[Entry], end: int) -> bool:
    """Tell whether a part may end behind the first `end` entries.

    Not between a message and its attachments, not between what was said and what a turn did about
    it, and not at an entry that an earlier checkpoint covers.
    """
    last = entries[end - 1]
    if last.again:
        return False
    return end == len(entries) or not (entries[end].ours or entries[end].id == last.id)


def _is_busy(state: Conversation, now: int) -> bool:
    """Tell whether a compaction is under way, or has failed a short while ago."""
    if state.compaction is not None and now - state.compaction.at < FORGOTTEN_S * SECOND:
        return True
    if not state.compaction_failures:
        return False
    doubled = 1 << min(state.compaction_failures - 1, 10)
    pause = min(BACKOFF_S * doubled, LONGEST_BACKOFF_S)
    return now < state.compaction_failed_at + round(pause * SECOND)


def _cut_since(state: Conversation, count: Counted) -> bool:
    return any(one.seq > count.seq for one in state.checkpoints)


def _rollup(state: Conversation, limits: Limits) -> Part | None:
    """Return the oldest checkpoints of the first level that has too many, or None."""
    for level in sorted({one.level for one in state.checkpoints}):
        same = [one for one in state.checkpoints if one.level == level]
        if len(same) >= limits.rollup_at:
            oldest = tuple(same[: limits.rollup_of])
            return Part("rollup", oldest[0].after, oldest[-1].until, sources=oldest)
    return None
