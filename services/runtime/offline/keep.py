"""What the rules do in a persistence branch: recall, save what is recognised, give the receipt."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from services.runtime.model import Message
from services.runtime.offline.statements import Statement, statements
from services.runtime.offline.step import Step, call, failure
from services.runtime.offline.think import IMPORTANCE, keywords, memory_ids, recalled
from services.runtime.offline.transcript import Transcript

MOST: Final = 10  # statements saved by one branch; who says more is looked through again
RECALLED: Final = 50  # memories looked at before anything is saved
NOTHING: Final = "Nothing was said that these rules would keep."

_LINE: Final = re.compile(
    r"^\[(?P<number>\d+)\] \[(?P<author>[^\]\n]{1,80})\] "
    r"\((?:\w+ )?(?P<day>\d{4}-\d\d-\d\d)[^)]*\) (?P<text>.*)$",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A statement, and the number of the message that it is from."""

    number: int
    statement: Statement


def decide(messages: Sequence[Message], run: Transcript, offered: Collection[str]) -> Step:
    """Return the next step of a persistence branch.

    Args:
        messages: The whole request: what was said, the task, what the branch has done.
        run: The same as the transcript of a run.
        offered: Names of the tools.
    """
    outputs: dict[str, list[str]] = {}
    for done in run.done:
        outputs.setdefault(done.tool, []).append(done.output)
    receipts = outputs.get("memory_receipt", [])
    if receipts:
        return _corrected(receipts)
    found = _found(messages)
    if not found:
        return call("memory_receipt", saved=[], nothing=True, why=NOTHING)
    if "memory_recall" in offered and "memory_recall" not in outputs:
        words = dict.fromkeys(w for each in found for w in keywords(each.statement.text))
        return call("memory_recall", query=" ".join(words), limit=RECALLED)
    if "memory_save" in outputs:
        return _receipt(outputs["memory_save"])
    known = [
        _bare(each) for output in outputs.get("memory_recall", []) for each in recalled(output)
    ]
    new = [each for each in found if not any(_bare(each.statement.text) in old for old in known)]
    if not new:
        return call("memory_receipt", saved=[], nothing=True, why="It is all known already.")
    return Step(calls=tuple(("memory_save", _arguments(each)) for each in new[:MOST]))


def _found(messages: Sequence[Message]) -> list[_Found]:
    """Return what is worth keeping, each once, in the order in which it was said."""
    found: dict[str, _Found] = {}
    for message in messages:
        line = _LINE.match(message.content) if message.role == "user" else None
        if line is None:
            continue
        for each in statements(line["text"], line["author"], date.fromisoformat(line["day"])):
            found.setdefault(_bare(each.text), _Found(int(line["number"]), each))
    return list(found.values())


def _arguments(found: _Found) -> dict[str, object]:
    kind = found.statement.kind
    return {
        "content": found.statement.text,
        "kind": kind,
        "importance": IMPORTANCE.get(kind, 0.6),
        "message": found.number,
    }


def _receipt(outputs: Sequence[str]) -> Step:
    """Give the receipt for what was saved; without one where something could not be."""
    for output in outputs:
        if output.lower().startswith("error"):
            return Step(text=f"I could not save it all: {failure(output)}")
    done = [output for output in outputs if failure(output) is None]
    saved = [ids[0] for output in done if (ids := memory_ids(output))]
    if not saved:
        return call("memory_receipt", saved=[], nothing=True, why="It is all known already.")
    return call("memory_receipt", saved=saved, nothing=False, why="Said in so many words.")


def _corrected(receipts: Sequence[str]) -> Step:
    """Give the receipt that the refusal of the first one asks for."""
    why = failure(receipts[-1])
    if why is None or len(receipts) > 1:
        return Step(text=why or "Done.")
    _, _, saved = receipts[-1].partition("You saved: ")
    ids = memory_ids(saved)
    return call("memory_receipt", saved=ids, nothing=not ids, why="As the log has it.")


def _bare(text: str) -> str:
    """Return a statement without what two of the same meaning may differ in."""
    return " ".join(re.findall(r"\w+", text.lower()))
