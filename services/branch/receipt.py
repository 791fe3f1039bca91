"""The receipt of a persistence branch: what it saved, or that there was nothing, held to the log.

It ends the branch. A receipt that does not agree with what the branch saved is refused.
"""

from collections.abc import Collection
from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.memory import MemorySaved, MemoryTouched
from services.branch.scope import Scope
from services.branch.sources import PersistenceScope
from services.errors import Rejected
from services.runtime.run_state import RunState
from services.runtime.text import clean, shorten
from services.runtime.tool import Tool, ToolOutput

NAME: Final = "memory_receipt"
WHY_CHARS: Final = 500


class FalseReceipt(Rejected):
    """The receipt does not say what was saved."""


class MemoryReceipt(Struct, frozen=True):
    """Arguments of `memory_receipt`."""

    saved: Annotated[
        tuple[str, ...], Meta(description="Id of every memory that you saved in this task.")
    ] = ()
    nothing: Annotated[bool, Meta(description="True when nothing was worth keeping.")] = False
    why: Annotated[str, Meta(description="What was kept, or why nothing was, in a sentence.")] = ""


def objection(receipt: MemoryReceipt, saved: Collection[str], known: Collection[str]) -> str | None:
    """Return why the receipt is false, with what is missing; None when it is true.

    Args:
        receipt: What the model says.
        saved: Ids of what its run has saved; all of them must be named.
        known: Ids of what was said again and was known; they may be named.
    """
    named = {id_.strip() for id_ in receipt.saved}
    missing = [id_ for id_ in saved if id_ not in named]
    invented = sorted(named - {*saved} - {*known})
    if not missing and not invented:
        if named and receipt.nothing:
            return "It says that there was nothing, and names what was saved: which is it?"
        if not named and not receipt.nothing:
            return "It names no memory: say `nothing`, or save first."
        return None
    parts = [
        f"Missing from it: {', '.join(missing)}." if missing else "",
        f"Not saved by you: {', '.join(invented)}." if invented else "",
        f"You saved: {', '.join(saved)}." if saved else "You saved nothing.",
    ]
    return " ".join(part for part in parts if part)


async def kept(scope: Scope) -> tuple[list[str], list[str]]:
    """Return the ids of what a run saved, and of what it found to be known, from the log."""
    saved: list[str] = []
    known: list[str] = []
    async for recorded in scope.writer.log.read(scope.memory, after=scope.since, fresh=True):
        match recorded.event:
            case MemorySaved(memory_id=id_, run_id=run_id) if run_id == scope.run_id:
                saved.append(id_)
            case MemoryTouched(memory_id=id_, run_id=run_id) if run_id == scope.run_id:
                known.append(id_)
            case _:
                pass
    return saved, known


async def _receipt(within: PersistenceScope, key: str, arguments: MemoryReceipt) -> ToolOutput:  # noqa: ARG001
    saved, known = await kept(within.scope)
    if (wrong := objection(arguments, saved, known)) is not None:
        raise FalseReceipt(wrong)
    why = shorten(clean(arguments.why), WHY_CHARS)
    if not saved:
        return ToolOutput(f"Nothing new was saved. {why}".strip())
    return ToolOutput(f"Saved {', '.join(saved)}. {why}".strip())


def given(run: RunState) -> str | None:
    """Return the receipt that a run has given, in words, or None."""
    for done in reversed(run.done):
        if done.name == NAME and done.status == "ok" and isinstance(done.output, str):
            return done.output
    return None


RECEIPT: Final[Tool[PersistenceScope, MemoryReceipt]] = Tool(
    NAME,
    "Say which memories you saved, or that there was nothing. Ends your task.",
    MemoryReceipt,
    _receipt,
    repeatable=True,
)
