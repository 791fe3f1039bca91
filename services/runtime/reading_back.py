"""Looking behind checkpoints: what there are, what one says, what it stands for.

Whoever has a fold has the checkpoints that a model is shown. The rest, those that a rollup stands
for and what was said itself, is read from the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.channel import CheckpointCut
from schemas.subjects import Subject
from services.errors import Rejected
from services.runtime import chronicle, lineage
from services.runtime.bodies import BodyStore
from services.runtime.chronicle import Checkpoint
from services.runtime.conversation import (
    EVERYTHING,
    Conversation,
    Entry,
    covered_by,
    evolve,
)
from services.runtime.conversations import shown
from services.runtime.event_log import EventLog
from services.runtime.text import cut

MOST: Final = 100  # entries that are shown at once
ENTRY_BYTES: Final = 2_000  # of one of them
NONE: Final = "There are no checkpoints: all of the conversation is shown."


@dataclass(frozen=True, slots=True)
class Chapter:
    """A checkpoint with what it stands for."""

    checkpoint: Checkpoint
    entries: tuple[Entry, ...]
    """As a model was shown them, oldest first."""


async def chapters(
    log: EventLog, conversation: Subject, *, until: int | None = None
) -> dict[int, Chapter]:
    """Return every checkpoint that was ever cut, by number, rolled up or not.

    Args:
        log: Where it is read: from its beginning.
        conversation: Any stream of it.
        until: Last sequence of its own to read; None for everything.
    """
    found: dict[int, Chapter] = {}
    state = Conversation()
    async for recorded in lineage.told(log, conversation, until=until, fresh=True):
        before, state = state, evolve(state, recorded, keep=EVERYTHING)
        if state.cuts > before.cuts and isinstance(recorded.event, CheckpointCut):
            new = next(one for one in state.checkpoints if one.number == state.cuts)
            found[new.number] = Chapter(new, _stood_for(before, new, found))
    return found


def _stood_for(
    before: Conversation, new: Checkpoint, found: Mapping[int, Chapter]
) -> tuple[Entry, ...]:
    if new.sources:
        return tuple(entry for number in new.sources for entry in found[number].entries)
    covered = covered_by(before, new.until)
    return tuple(entry for entry in covered if not entry.again)  # once, in the earlier one


def listed(checkpoints: Sequence[Checkpoint]) -> str:
    """Return a line for each checkpoint."""
    return "\n".join(chronicle.heading(one) for one in checkpoints) or NONE


async def opened(checkpoint: Checkpoint, bodies: BodyStore) -> str:
    """Return a checkpoint with its whole summary."""
    return f"{chronicle.heading(checkpoint)}\n{await shown(checkpoint.summary, bodies)}"


async def expanded(chapter: Chapter, bodies: BodyStore, *, skip: int = 0) -> str:
    """Return what a checkpoint stands for, at most `MOST` entries of it.

    Args:
        chapter: The checkpoint.
        bodies: Where long texts are.
        skip: How many entries to leave out, from the oldest.
    """
    part = chapter.entries[skip : skip + MOST]
    lines = [chronicle.heading(chapter.checkpoint)]
    for entry in part:
        text = cut(await shown(entry.text, bodies), ENTRY_BYTES)
        lines.append(f"[{chronicle.moment(entry.at)}] {entry.label or 'you: '}{text}")
    rest = len(chapter.entries) - skip - len(part)
    if rest > 0:
        lines.append(f"({rest:,} more: expand with skip {skip + len(part)})")
    return "\n".join(lines)


def one_of(checkpoints: Sequence[Checkpoint], number: int) -> Checkpoint:
    """Return the checkpoint of a number.

    Raises:
        Rejected: there is none among these.
    """
    for one in checkpoints:
        if one.number == number:
            return one
    there = ", ".join(f"#{one.number}" for one in checkpoints) or "none"
    raise Rejected(f"There is no checkpoint #{number} here. There are: {there}.")
