"""One open page's view of a conversation: its past behind a sequence, then what comes, as it comes.

Everything that is recorded is told once, in log order, under its sequence: who comes back with the
last one misses nothing. Deltas and notices have none; they are for whoever looks just now.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine
from typing import Final, TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from schemas.base import RunId
from schemas.catalogue import AnyEvent
from schemas.channel import BranchRequested, ChannelEvent, ReplySent
from schemas.subjects import Subject, matching
from services.api.feed import happened, said
from services.api.feed.happened import Shown, name_of
from services.api.feed.settled import is_settled
from services.api.feed.sse import HEARTBEAT, HEARTBEAT_S, RETRY
from services.errors import ServiceError
from services.runtime.cancelling import end
from services.runtime.closing import closing
from services.runtime.conversation import Conversation, evolve
from services.runtime.event_log import EVERYTHING, Recorded
from services.runtime.live import TextDelta, deltas
from services.runtime.process import Process

ROOM: Final = 256  # chunks that wait for a slow reader; then the log waits, and deltas are dropped
MOST_AT_ONCE: Final = 64  # chunks sent together
ANSWERED: Final = 64  # turns remembered, whose late deltas are not shown any more

T = TypeVar("T")

log = structlog.get_logger()


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where a notice is about."""

    seq: int


class Feed:
    """One reader of one conversation."""

    def __init__(self, process: Process, conversation: Subject, after: int) -> None:
        self._process = process
        self._conversation = conversation
        self._after = after
        self._state = Conversation()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(ROOM)
        self._answered: OrderedDict[RunId, None] = OrderedDict()
        self._silent: set[RunId] = set()
        """Persistence branches, which nobody is told of."""
        self._restarted = False
        self._ended = False

    async def open(self) -> None:
        """Find out where the conversation stands; before anything is promised to the reader.

        Raises:
            LogUnavailable: the log does not answer.
        """
        newest = await self._process.log.last(EVERYTHING, fresh=True)
        if self._after > (newest.seq if newest else 0):
            # The reader knows another log, one that was here before: begin anew.
            self._after, self._restarted = 0, True
        state = await self._process.conversations.newest(self._conversation)
        self._state = replace(state, entries=())
        if state.unsaved.branch is not None:
            self._silent.add(state.unsaved.branch.run_id)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the text of the stream until the process stops; after `open`."""
        yield RETRY
        if self._restarted:
            yield _chunk("restarted", Notice(seq=0))
        work = (self._follow(), self._listen(), self._until_stopping())
        sources = [asyncio.create_task(self._end_with(each)) for each in work]
        try:
            while not self._ended:
                yield await self._next()
        finally:
            await end(*sources)

    async def _next(self) -> bytes:
        """Return what is there to send, or a heartbeat after a silence."""
        together: list[bytes] = []
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                chunk = await self._chunks.get()
        except TimeoutError:
            return HEARTBEAT
        while chunk is not None:
            together.append(chunk)
            if len(together) == MOST_AT_ONCE or self._chunks.empty():
                return b"".join(together)
            chunk = self._chunks.get_nowait()
        self._ended = True
        return b"".join(together)

    async def _end_with(self, source: Coroutine[None, None, None]) -> None:
        """Let the stream end when a source does; the reader comes back and goes on."""
        try:
            await source
        except ServiceError as error:
            log.info("stream.ended", reason=str(error))
        except Exception:  # a bug must not leave a page waiting for what never comes
            log.exception("stream.failed")
        await self._chunks.put(None)

    async def _until_stopping(self) -> None:
        await self._process.stopping.wait()

    async def _follow(self) -> None:
        """Tell what is recorded, from behind `after` on, for ever."""
        if self._after >= self._state.seq:
            await self._tell_if_settled()
        whole = matching(*self._conversation[:4])
        async with closing(self._process.log.tail(whole, after=self._after)) as records:
            async for recorded in records:
                await self._tell(recorded)

    async def _tell(self, recorded: Recorded) -> None:
        event = recorded.event
        if event is not None and self._is_silent(event):
            body: msgspec.Struct | None = None
        elif isinstance(event, Shown):
            body = happened.of_event(recorded, event)
        elif isinstance(event, ChannelEvent):
            body = await said.of_event(recorded, event, self._process.bodies)
        else:
            return
        if isinstance(event, ReplySent):
            self._remember(event.turn_id)
        if body is not None:
            await self._chunks.put(_chunk(name_of(event), body, recorded.seq))
        if isinstance(event, ChannelEvent):
            await self._fold(recorded)

    def _is_silent(self, event: AnyEvent) -> bool:
        """Tell whether the event is of a persistence branch."""
        if isinstance(event, BranchRequested) and event.purpose == "persistence":
            self._silent.add(event.run_id)
        return getattr(event, "run_id", None) in self._silent

    async def _fold(self, recorded: Recorded) -> None:
        """Keep up with the conversation; what came before the stream was opened is known."""
        if recorded.seq > self._state.seq:
            self._state = evolve(self._state, recorded, keep=1)
        if recorded.seq == self._state.seq:
            await self._tell_if_settled()

    async def _tell_if_settled(self) -> None:
        """Say so when the conversation rests, behind everything that led to it."""
        most = self._process.config.channel.max_retriggers
        if is_settled(self._state, max_retriggers=most):
            await self._chunks.put(_chunk("settled", Notice(seq=self._state.seq)))

    async def _listen(self) -> None:
        """Tell what is being written; what finds no room is dropped."""
        async with closing(self._process.live.listen(deltas(self._conversation))) as bodies:
            async for body in bodies:
                delta = msgspec.json.decode(body, type=TextDelta)
                if RunId(delta.turn) not in self._answered and not self._chunks.full():
                    self._chunks.put_nowait(_chunk("delta", delta))

    def _remember(self, turn_id: RunId) -> None:
        self._answered[turn_id] = None
        if len(self._answered) > ANSWERED:
            self._answered.popitem(last=False)


def _chunk(name: str, body: msgspec.Struct, seq: int | None = None) -> bytes:
    """Return one event as it is sent; JSON has no line breaks, so it is one line of data."""
    id_ = b"" if seq is None else b"id: %d\n" % seq
    return b"%bevent: %b\ndata: %b\n\n" % (id_, name.encode(), msgspec.json.encode(body))
