"""What a run was shown, told apart by who said it; pure."""

from typing import Final

from schemas.base import EventId
from services.memory.junk import Heard
from services.runtime.conversation import Conversation, Entry

MOST: Final = 100  # newest entries of a conversation that a candidate is held against
LONGEST: Final = 2_000  # characters of each
OWN_RESULT: Final = "[result of branch "
NOBODYS: Final = ("[result of ", "[job ", "[you ", "[worker ", "[a stop was asked of ")
"""Beginnings of what a history shows that no person said."""


def heard(
    fork: Conversation,
    *,
    system: str = "",
    recalled: tuple[str, ...] = (),
    occurrence: EventId | None = None,
) -> Heard:
    """Return what a run on this fork was shown.

    Args:
        fork: The conversation as the run sees it.
        system: Its system prompt.
        recalled: What it recalled so far.
        occurrence: The occurrence of a job that it works for, which is shown nothing of others.
    """
    newest = [entry for entry in fork.entries if entry.occurrence == occurrence][-MOST:]
    return Heard(
        recalled=recalled,
        own=tuple(str(entry.text)[:LONGEST] for entry in newest if _is_own(entry)),
        said=tuple(str(entry.text)[:LONGEST] for entry in newest if _is_a_persons(entry)),
        system=(system,) if system else (),
    )


def _is_own(entry: Entry) -> bool:
    ours = entry.role == "assistant" or entry.label.startswith(OWN_RESULT)
    return ours and isinstance(entry.text, str)


def _is_a_persons(entry: Entry) -> bool:
    theirs = entry.role == "user" and not entry.label.startswith(NOBODYS)
    return theirs and isinstance(entry.text, str)
