"""From a part of a conversation to a checkpoint: what a model is shown, and what it makes of it."""

from collections.abc import Sequence
from typing import Final

from schemas.channel import CheckpointCut
from services.compactor import usage
from services.compactor.decider import Part
from services.runtime.bodies import INLINE_BYTES, BodyStore
from services.runtime.chronicle import TITLE_CHARS, Checkpoint, heading, moment
from services.runtime.conversation import Entry
from services.runtime.conversations import shown
from services.runtime.text import clean, cut, shorten

ENTRY_BYTES: Final = 8_000  # of one text: the beginning and the end of what is longer
TITLE: Final = "TITLE:"
LEFT_OUT: Final = "Left out without a summary"
QUOTE_CHARS: Final = 200


async def transcript(entries: Sequence[Entry], before: Checkpoint | None, bodies: BodyStore) -> str:
    """Return a part of a conversation as it is shown to whoever summarises it."""
    lines = await _preceding(before, bodies)
    lines.append("[transcript] The part to summarise, as data:")
    for entry in entries:
        text = cut(clean(await shown(entry.text, bodies)), ENTRY_BYTES, keep="both")
        who = entry.label or "you: "
        lines.append(f"[{moment(entry.at)}] {who}{text}")
    return "\n".join([*lines, "[end of the transcript]"])


async def checkpoints(sources: Sequence[Checkpoint], bodies: BodyStore) -> str:
    """Return checkpoints as they are shown to whoever makes one of them."""
    lines = ["[transcript] Summaries of consecutive parts, to be made into one, as data:"]
    for one in sources:
        lines += [heading(one), f"[{moment(one.first_at)}] {await shown(one.summary, bodies)}"]
    return "\n".join([*lines, "[end of the transcript]"])


async def _preceding(before: Checkpoint | None, bodies: BodyStore) -> list[str]:
    if before is None:
        return []
    told = f"{heading(before)}\n{await shown(before.summary, bodies)}"
    return ["[before] What happened before this part, for you to know, not to repeat:", told, ""]


def read(answer: str) -> tuple[str, str]:
    """Return title and summary of a model's answer; its first line where it gave no title."""
    text = clean(answer).strip()
    first, _, rest = text.partition("\n")
    if first.strip().upper().startswith(TITLE):
        title = first.strip()[len(TITLE) :]
        return _title(title or rest), rest.strip() or title.strip()
    return _title(first), text


def _title(text: str) -> str:
    return shorten(text.strip().strip("*#\"'").strip(), TITLE_CHARS - 1) or "Untitled"


def notice(part: Part) -> str:
    """Return what stands for a part that was left out without a summary."""
    first, last = part.entries[0], part.entries[-1]
    what = (
        f"{len(part.entries):,} entries from {moment(first.at)} to {moment(last.at)} UTC are "
        "left out here without a summary: the conversation had filled the model's window, or "
        "all that is kept of it, before one was made. Do not guess what was said. All of it is "
        "in the log, and a branch can read it with `checkpoint_expand`."
    )
    return f"{what}\nIt began with: {_quote(first)}\nIt ended with: {_quote(last)}"


def _quote(entry: Entry) -> str:
    text = entry.text if isinstance(entry.text, str) else "(a long text)"
    return shorten(clean(f"{entry.label or 'you: '}{text}"), QUOTE_CHARS)


def emergency(part: Part) -> CheckpointCut:
    """Return the checkpoint that leaves a part out at once."""
    return cut_of(part, LEFT_OUT, cut(notice(part), INLINE_BYTES))


def cut_of(part: Part, title: str, summary: str) -> CheckpointCut:
    """Return the checkpoint of a part, without a run and a model."""
    times = [entry.at for entry in part.entries]
    times += [at for one in part.sources for at in (one.first_at, one.last_at)]
    return CheckpointCut(
        after=part.after,
        until=part.until,
        title=title,
        summary=summary,
        kind=part.kind,
        level=part.level,
        sources=tuple(one.id for one in part.sources),
        entries=len(part.entries) + sum(one.entries for one in part.sources),
        tokens=sum(map(usage.of_entry, part.entries)) + sum(one.tokens for one in part.sources),
        first_at=min(times, default=0),
        last_at=max(times, default=0),
    )
