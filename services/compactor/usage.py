"""How much of the model's window a conversation fills: what providers counted, or an estimate.

Pure. A provider's count says how long the newest turn's first request was; what came and what was
summarised since is estimated on top of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from schemas.run import ModelCalled, ModelFailed, ModelReturned
from services.runtime.chronicle import CHARS_PER_TOKEN, Checkpoint, estimated_tokens
from services.runtime.conversation import Conversation, Entry
from services.runtime.event_log import Recorded

SURROUNDINGS: Final = 3_000  # tokens of the system prompt and the tools, where nobody counted them


@dataclass(frozen=True, slots=True)
class Counted:
    """What a provider counted."""

    tokens: int
    """Of the request, in all."""
    seq: int
    """Sequence of the call: the request shows what is before it."""
    overflowed: bool = False
    """Whether the provider refused a request of that turn, because it was too long."""


def counted(steps: Iterable[Recorded]) -> Counted | None:
    """Return what was counted for a turn, from its steps; None where nothing was."""
    called, first, overflow = 0, None, 0
    for recorded in steps:
        match recorded.event:
            case ModelCalled() if not called:  # by it the history is fixed, for all of the turn
                called = recorded.seq
            case ModelFailed(reason="overflow"):
                overflow = recorded.seq
            case ModelReturned(usage=usage) if first is None and usage.input:
                first = Counted(usage.input, called)
            case _:
                pass
    if overflow:
        return Counted(first.tokens if first else 0, overflow, overflowed=True)
    return first


def tokens(state: Conversation, count: Counted | None) -> int:
    """Return about how many tokens the next request will have."""
    if count is None or not count.tokens:
        return SURROUNDINGS + of_history(state)
    new = sum(of_entry(entry) for entry in state.entries if entry.seq > count.seq)
    cut = sum(_saved(one) for one in state.checkpoints if one.seq > count.seq)
    return max(0, count.tokens + new - cut)


def of_history(state: Conversation) -> int:
    """Return about how many tokens checkpoints and entries have."""
    summaries = sum(estimated_tokens(one.summary) for one in state.checkpoints)
    return summaries + sum(map(of_entry, state.entries))


def of_entry(entry: Entry) -> int:
    """Return about how many tokens an entry has; one that is empty is not for nothing."""
    return 1 + len(entry.label) // CHARS_PER_TOKEN + estimated_tokens(entry.text)


def _saved(one: Checkpoint) -> int:
    """Return how much shorter a checkpoint has made what is shown; a rollup saves little."""
    return 0 if one.level else one.tokens - estimated_tokens(one.summary)
