"""What reading a document comes to: passages, or why there are none."""

from typing import Final

from msgspec import Struct

from schemas.base import Sha256
from schemas.ingest import Refusal

LONGEST: Final = 1_500  # characters of a passage: about 350 tokens, and one thought or two
SHORTEST: Final = (
    700  # unless the document ends; half of the longest, so that borders fall together
)
LONGEST_HEADING: Final = 300  # characters


class Passage(Struct, frozen=True, kw_only=True):
    """One passage of a text."""

    sha256: Sha256
    """Of `text` in UTF-8."""
    text: str
    heading: str = ""


class Unreadable(Struct, frozen=True, kw_only=True):
    """Why a document has no passages."""

    reason: Refusal
    detail: str
    """For people."""
