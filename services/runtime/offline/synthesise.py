"""What the rules do with memories that are to be put together: quote the most important ones."""

import re
from typing import Final

from services.runtime.offline.step import Step

SHOWN: Final = 12  # statements
_MEMORY: Final = re.compile(r'^- (?P<kind>[a-z]+): "(?P<text>.*)"$', re.MULTILINE)


def decide(task: str) -> Step:
    """Return the first memories of a list, those of one kind together, in the list's order."""
    found = [(line["kind"], line["text"]) for line in _MEMORY.finditer(task)][:SHOWN]
    kinds = dict.fromkeys(kind for kind, _ in found)
    said = [text.rstrip(".") + "." for kind in kinds for other, text in found if other == kind]
    return Step(text="\n".join(said) or "Nothing is known.")
