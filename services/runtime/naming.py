"""What people and files are called where a model reads it: never like anything that we say."""

import re
from typing import Final

LONGEST: Final = 80  # characters of a name

_OURS: Final = re.compile(
    r"(?:status|task|checkpoints|before|transcript|nudge|end of|result of|earlier messages|you"
    r"|worker|job|a stop)\b",
    re.IGNORECASE,
)
"""How what stands in brackets before our own words begins."""


def called(name: str) -> str:
    """Return a name on one line, in quotes where it could be taken for one of our own labels."""
    line = " ".join(name.split()).replace("[", "(").replace("]", ")")[:LONGEST] or "somebody"
    return f'"{line}"' if _OURS.match(line) else line
