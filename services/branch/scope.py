"""What every tool of a branch is handed."""

from dataclasses import dataclass
from typing import Final

from projections import positions
from schemas.base import EventId, RunId
from schemas.channel import ChannelEvent, Person
from schemas.memory import MemoryEvent
from schemas.subjects import Subject
from services.runtime.database import Pool, using
from services.runtime.writer import Writer

PATIENCE_S: Final = 2.0  # how long a recall waits for what was just saved to become readable
POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Scope:
    """Where one branch thinks."""

    run_id: RunId
    conversation: Subject
    agent: str
    speaker: Person | None
    """Who spoke last before the fork: whom a memory comes from."""
    source: EventId | None
    """The event at which the branch was forked off."""
    since: int
    """Sequence of the branch's request: nothing that it does is before it."""
    turn: RunId | None
    pool: Pool
    writer: Writer

    @property
    def memory(self) -> str:
        """The subject of the agent's memories."""
        return str(Subject(self.conversation.tenant, self.agent, entity="memory"))

    async def remember(self, event: MemoryEvent, id_: EventId) -> None:
        """Append to the agent's memories, once."""
        envelope = self.writer.seal(event, id=id_, cause=self.source, turn=self.turn)
        await self.writer.append_once(self.memory, envelope, since=self.since)

    async def request(self, event: ChannelEvent, id_: EventId) -> None:
        """Append to the conversation, once."""
        envelope = self.writer.seal(event, id=id_, cause=self.source, turn=self.turn)
        await self.writer.append_once(str(self.conversation), envelope, since=self.since)

    async def caught_up(self, projection: str = "memories", pattern: str | None = None) -> None:
        """Wait until what was saved can be recalled; give up waiting when it takes too long.

        Args:
            projection: Which read model has to catch up.
            pattern: With what; None for the agent's memories.

        Raises:
            DatabaseUnavailable: there is no reading it now.
        """
        newest = await self.writer.log.last(pattern or self.memory, fresh=True)
        if newest is None:
            return
        deadline = self.writer.clock.monotonic() + PATIENCE_S
        while self.writer.clock.monotonic() < deadline:
            async with using(self.pool) as conn:
                position = (await positions.listing(conn)).get(projection)
            if position is not None and position.seq >= newest.seq:
                return
            await self.writer.clock.sleep(POLL_S)
