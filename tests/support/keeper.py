"""A model that keeps things as it should: it saves, reads the ids, and gives the receipt."""

import re

from services.runtime.model import ModelRequest
from tests.support.scripted_model import Brain, Scripted, calls, does, says, split

MARK = "[task] Look through"
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def keeping(*saves: dict[str, object], otherwise: Brain | None = None) -> Brain:
    """Return a brain that saves these in every persistence branch.

    Args:
        saves: Arguments of `memory_save`, all called at once.
        otherwise: Answers everything else; without it, with a word.
    """

    def brain(request: ModelRequest) -> Scripted:
        prompt, own = split(request)
        if not prompt.content.startswith(MARK):
            return otherwise(request) if otherwise else says("Fine.")
        outputs = [message.content for message in own if message.role == "tool"]
        if saves and not outputs:
            return does(*(calls("memory_save", **arguments) for arguments in saves))
        saved = [found for output in outputs for found in ID.findall(output)]
        return does(calls("memory_receipt", saved=saved, nothing=not saved, why="It matters."))

    return brain
