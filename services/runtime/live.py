"""Live, lossy traffic over core NATS: token deltas, and a tap on the shoulder of a run's owner.

Never stored, never relied on: whoever needs to know reads the log.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from schemas.subjects import Subject


class TextDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a reply while it is being written."""

    turn: str
    text: str
    reset: bool = False
    """What came before in this turn is void; start over."""


class Live(Protocol):
    """Publish and listen, with no promise."""

    async def publish(self, subject: str, body: bytes) -> None:
        """Send to whoever listens now; a failure is swallowed."""
        ...

    async def anyone(self, subject: str) -> bool:
        """Tell whether somebody listens there now; when in doubt, somebody does."""
        ...

    def listen(self, subject: str) -> AsyncIterator[bytes]:
        """Yield what is published from now on; when the listener lags, the oldest is dropped."""
        ...


def deltas(conversation: Subject) -> str:
    """Return the live subject of a conversation's deltas."""
    return "live." + str(conversation.of("delta")).removeprefix("evt.")


def changes(run_id: str) -> str:
    """Return the live subject on which the owner of a run hears that its stream has changed."""
    return f"live.run.{run_id}"
