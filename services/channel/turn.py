"""What a turn is allowed to do to its conversation: effects by compare-and-append, once each."""

import asyncio
from dataclasses import dataclass
from typing import Final

from schemas.base import EventId, RunId
from schemas.channel import ChannelEvent
from schemas.schedule import OccurrenceEnded
from schemas.subjects import Subject
from services.errors import Conflict, Fenced, LogFull, LogUnavailable
from services.runtime import ids
from services.runtime.conversation import Conversation, OpenTurn
from services.runtime.conversations import Conversations
from services.runtime.writer import Writer

PATIENCE_S: Final = 600.0  # a turn waits this long for an absent log before it is handed back
RETRY_S: Final = 1.0


@dataclass(slots=True)
class Turn:
    """One turn in the hands of its owner."""

    subject: Subject
    turn_id: RunId
    attempt: int
    """Which of the turn's attempts is ours."""
    holder: EventId
    """The event whose delivery we hold."""
    conversations: Conversations
    writer: Writer
    state: Conversation
    """The conversation as the last append left it."""

    async def effect(
        self, event: ChannelEvent | OccurrenceEnded, key: str, *, id_: EventId | None = None
    ) -> EventId:
        """Append an effect of this turn, unless it is there already; return its id.

        Args:
            event: What the turn does.
            key: Names the effect within the turn, the same at every try.
            id_: Its id, where others than this turn may have the same effect.

        Raises:
            Fenced: the turn has another owner or is over.
        """
        id_ = id_ or ids.derived("effect", self.turn_id, key)
        await self._append(event, id_)
        return id_

    def has_done(self, key: str) -> bool:
        """Tell whether the effect `key` is in the log, perhaps by an earlier owner."""
        turn = self.state.turn
        return turn is not None and ids.derived("effect", self.turn_id, key) in turn.effects

    async def end(self, event: ChannelEvent) -> None:
        """Append the event that ends this turn.

        Raises:
            Fenced: the turn has another owner or is over.
        """
        await self._append(event, ids.derived("end", self.turn_id))

    async def _append(self, event: ChannelEvent | OccurrenceEnded, id_: EventId) -> None:
        envelope = self.writer.seal(event, id=id_, cause=self.holder, turn=self.turn_id)
        deadline = self.writer.clock.monotonic() + PATIENCE_S
        while True:
            self.check()
            if self.state.turn is not None and id_ in self.state.turn.effects:
                return
            try:
                seq = await self.writer.log.append_if(str(self.subject), self.state.seq, envelope)
            except Conflict:
                await asyncio.sleep(0)
                self.state = await self.conversations.newest(self.subject)
            except (LogUnavailable, LogFull):
                if self.writer.clock.monotonic() > deadline:
                    raise
                await self.writer.clock.sleep(RETRY_S)
            else:
                # Read back, not folded as it is: the id is the same for every owner, so it may be
                # another's event that the log has under it, with others before it.
                self.state = await self.conversations.at_least(self.subject, seq)
                return

    def check(self) -> OpenTurn:
        """Return the turn, having made sure that it is ours.

        Raises:
            Fenced: it is not.
        """
        turn = self.state.turn
        if turn is None or turn.turn_id != self.turn_id:
            raise Fenced(f"turn {self.turn_id} is over")
        if turn.attempt != self.attempt:
            raise Fenced(f"turn {self.turn_id} is owned by {turn.owner}")
        return turn

    async def refresh(self) -> Conversation:
        """Read what came since, and check that the turn is still ours."""
        self.state = await self.conversations.newest(self.subject)
        self.check()
        return self.state
