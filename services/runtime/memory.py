"""What a memory is made of, for whoever saves one: branches, and people at a terminal."""

from typing import Final

from schemas.memory import MemoryKind
from services.errors import Rejected
from services.runtime.bodies import INLINE_BYTES
from services.runtime.text import clean

DEFAULT_IMPORTANCE: Final[dict[MemoryKind, float]] = {
    "identity": 1.0,
    "goal": 0.9,
    "decision": 0.8,
    "todo": 0.8,
    "preference": 0.7,
    "fact": 0.6,
    "event": 0.4,
    "observation": 0.3,
}
"""How much each kind counts where nobody says."""


class InvalidMemory(Rejected):
    """It cannot be remembered like this."""


def statement(raw: str) -> str:
    """Return the text of a memory.

    Raises:
        InvalidMemory: it is empty, or too long to be one statement.
    """
    text = clean(raw).strip()
    if not text:
        raise InvalidMemory("There is nothing in it to remember.")
    if len(text.encode()) > INLINE_BYTES:
        raise InvalidMemory(
            f"A memory holds one statement, at most {INLINE_BYTES:,} bytes; this has "
            f"{len(text.encode()):,}. Save what matters in it, or have a worker write a file."
        )
    return text
