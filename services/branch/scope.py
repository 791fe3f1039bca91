"""What every tool of a branch is handed."""

from dataclasses import dataclass
from typing import Final

from projections import memories, positions
from projections.memories import Memory
from schemas.base import EventId, RunId
from schemas.channel import ChannelEvent, Person
from schemas.memory import MemoryEvent
from schemas.run import ToolReturned
from schemas.subjects import FORK, Subject
from services.memory import audience
from services.memory.audience import Audience
from services.memory.gate import Candidate, Neighbour
from services.memory.heard import heard
from services.memory.keeping import Keeper, Kept, Origin, memory_subject
from services.memory.neighbours import Place
from services.memory.people import People
from services.runtime import forks
from services.runtime.bodies import BodyStore
from services.runtime.conversation import Conversation
from services.runtime.conversations import Conversations
from services.runtime.database import Pool, using
from services.runtime.embedding import Embedder
from services.runtime.tasks.desk import Desk
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
    """Who spoke last before the fork: whom a memory comes from. Nobody in a run of a job."""
    source: EventId | None
    """The event at which the branch was forked off."""
    since: int
    """Sequence of the branch's request: nothing that it does is before it."""
    turn: RunId | None
    pool: Pool
    writer: Writer
    fork: Conversation
    """The conversation as the branch sees it."""
    system: str
    """The branch's system prompt."""
    conversations: Conversations
    people: People
    keeper: Keeper
    bodies: BodyStore
    embedder: Embedder | None = None
    """None where nothing is found by meaning."""
    desk: Desk | None = None
    """What this process knows of tasks; None: nothing yet."""
    said_at: int | None = None
    """When what it saves was said, UTC microseconds; None for just now."""
    occurrence: EventId | None = None
    """The occurrence of a job that it works for; None where people talk."""

    @property
    def place(self) -> Place:
        """Whose memory it is."""
        return Place(self.conversation.tenant, self.agent)

    @property
    def memory(self) -> str:
        """The subject of the agent's memories."""
        return memory_subject(self.place)

    async def audience(self) -> Audience:
        """Return who hears what comes of this branch, and so what it may remember and recall."""
        if self.occurrence is not None:
            return await self._audience_of_job(self.occurrence)
        identities = await self.people.of(self.conversation.tenant)
        return audience.of(self.fork, self.conversation, identities)

    async def _audience_of_job(self, occurrence: EventId) -> Audience:
        run = self.fork.occurrence(occurrence)
        if run is None or run.deliver_to is None:
            return audience.of_job(None, self.conversation)
        adapter, conversation = run.deliver_to.adapter, run.deliver_to.conversation
        there = self.conversation._replace(adapter=adapter, conversation=conversation)
        return audience.of_job(await self.conversations.newest(there), there)

    async def may_read(self, other: Subject) -> bool:
        """Tell whether what was said in a conversation may be told in this one."""
        if other == self.conversation:
            return True
        if other.adapter == FORK:
            return False  # what was said there might have been, and was not
        there = await self.conversations.newest(other)
        identities = await self.people.of(self.conversation.tenant)
        return (await self.audience()).may_read(audience.of(there, other, identities))

    async def save(self, candidate: Candidate, key: str) -> Kept:
        """Have the gate decide on a memory, once.

        Raises:
            InAFork: nothing is saved from a fork.
            NotWorthKeeping: says why.
            DatabaseUnavailable, MemoryBehind: nothing was saved; it may be tried again.
        """
        self.may_change()
        shown = heard(
            self.fork,
            system=self.system,
            recalled=await self._recalled(),
            occurrence=self.occurrence,
        )
        who = await self.audience()
        return await self.keeper.save(
            self.place, candidate, self._origin(key), heard=shown, ids_of_person=who.ids
        )

    async def correct(self, candidate: Candidate, wrong: Memory, key: str) -> Kept:
        """Replace a memory that is wrong, once.

        Raises:
            Rejected: it is not valid any more, or this is a fork.
            DatabaseUnavailable, MemoryBehind: nothing was saved; it may be tried again.
        """
        self.may_change()
        who = await self.audience()
        return await self.keeper.correct(
            self.place,
            candidate,
            Neighbour(wrong.memory_id, wrong.kind, str(wrong.text), wrong.importance),
            self._origin(key),
            valid=wrong.replaced_by is None and wrong.forgotten_at is None,
            ids_of_person=who.ids,
        )

    def _origin(self, key: str) -> Origin:
        return Origin(key, since=self.since, cause=self.source, turn=self.turn)

    async def _recalled(self) -> tuple[str, ...]:
        """Return what the memories say that this run was shown so far, whoever drove it."""
        shown: dict[str, None] = {}
        journal = str(self.conversation.of("branch", self.run_id))
        async for recorded in self.writer.log.read(journal, after=self.since, fresh=True):
            if isinstance(recorded.event, ToolReturned):
                shown |= dict.fromkeys(recorded.event.recalled)
        if not shown:
            return ()
        return tuple(await self.keeper.known.texts(self.place, list(shown)))

    def may_change(self) -> None:
        """Make sure that what other conversations share may be changed from here.

        Raises:
            InAFork: it may not.
        """
        forks.check(self.fork.fork)

    async def remember(self, event: MemoryEvent, id_: EventId) -> None:
        """Append to the agent's memories, once.

        Raises:
            InAFork: not from a fork.
        """
        self.may_change()
        envelope = self.writer.seal(event, id=id_, cause=self.source, turn=self.turn)
        await self.writer.append_once(self.memory, envelope, since=self.since)

    async def request(self, event: ChannelEvent, id_: EventId) -> None:
        """Append to the conversation, once."""
        envelope = self.writer.seal(event, id=id_, cause=self.source, turn=self.turn)
        await self.writer.append_once(str(self.conversation), envelope, since=self.since)

    async def caught_up(self, projection: str = memories.NAME, pattern: str | None = None) -> None:
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
            if await self._position(projection) >= newest.seq:
                return
            await self.writer.clock.sleep(POLL_S)

    async def _position(self, projection: str) -> int:
        """Return how far a read model has got."""
        if projection == memories.NAME:
            return await self.keeper.known.position()
        async with using(self.pool) as conn:
            position = (await positions.listing(conn)).get(projection)
        return position.seq if position is not None else 0
