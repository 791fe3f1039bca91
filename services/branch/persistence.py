"""Every tool of a persistence branch, and how it behaves: recall, save, give the receipt.

Nothing in what it reads can make it delete, search elsewhere or start work: it has no such tool.
"""

from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from services.branch import receipt
from services.branch.memory_tools import MEMORY_TOOLS, MemorySave
from services.branch.scope import Scope
from services.branch.sources import PersistenceScope
from services.errors import Rejected
from services.runtime.config import PersistenceSettings
from services.runtime.run_decider import Profile
from services.runtime.tool import Tool, ToolOutput

REMINDER: Final = (
    "[nudge] You ended without a receipt. Save what is still to be saved, then call "
    "memory_receipt with the ids of what you saved, or with `nothing`."
)

_TOOLS: Final[dict[str, Tool[Scope, Any]]] = {tool.name: tool for tool in MEMORY_TOOLS}
_RECALL: Final = _TOOLS["memory_recall"]
_SAVE: Final = _TOOLS["memory_save"]


class UnknownSource(Rejected):
    """No message has this number."""


class MemorySaveFrom(MemorySave, frozen=True, kw_only=True):
    """Arguments of `memory_save` where there are several messages to choose from."""

    message: Annotated[
        int,
        Meta(ge=1, description="Number of the message that it comes from; of the last, if many."),
    ]


async def _recall(within: PersistenceScope, key: str, arguments: Any) -> ToolOutput:  # noqa: ANN401 - the tool's
    return await _RECALL.run(within.scope, key, arguments)


async def _save(within: PersistenceScope, key: str, arguments: MemorySaveFrom) -> ToolOutput:
    """Save as any branch does, as learned from the message that was named and from its author."""
    number, sources = arguments.message, within.sources
    if not 1 <= number <= len(sources):
        raise UnknownSource(
            f"No message has the number {number}; they go from 1 to {len(sources)}."
        )
    source = sources[number - 1]
    speaker = source.person or within.scope.speaker
    fork = msgspec.structs.replace(within.scope.fork, speaker=speaker)  # whose memory it is
    scope = replace(within.scope, source=source.id, speaker=speaker, fork=fork, said_at=source.at)
    return await _SAVE.run(scope, key, arguments)


TOOLS: Final[tuple[Tool[PersistenceScope, Any], ...]] = (
    Tool(_RECALL.name, _RECALL.description, _RECALL.arguments, _recall, repeatable=True),
    Tool(_SAVE.name, _SAVE.description, MemorySaveFrom, _save, repeatable=True),
    receipt.RECEIPT,
)


def profile_of(branch: Profile, settings: PersistenceSettings) -> Profile:
    """Return how a persistence branch behaves: as other branches, but it must give a receipt."""
    return replace(
        branch,
        max_calls=settings.max_turns,
        ending_tools=frozenset({receipt.NAME}),
        text_ends=False,
        nudges=settings.nudges,
        reminder=REMINDER,
    )
