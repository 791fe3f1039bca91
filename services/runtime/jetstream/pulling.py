"""Keep a pull request open on a consumer, through restarts, elections and missed heartbeats."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.errors import LogUnavailable
from services.runtime import ids
from services.runtime.cancelling import end
from services.runtime.jetstream.connection import Connection, headers_of
from services.runtime.jetstream.wire import Message

EXPIRES_S: Final = 30  # a request that found nothing is made again
HEARTBEAT_S: Final = 3  # the server says that it is alive; three missed mean it is not


log = structlog.get_logger()


class ConsumerLost(LogUnavailable):
    """The consumer is gone, and so is what it would have delivered: make it again."""


class Puller:
    """Asks one consumer for messages, never for more than there is room for.

    One request is open at a time: deliveries carry the event's own subject, so they could not be
    told apart between two.

    Args:
        connection: Where.
        stream: Of which stream.
        consumer: Which consumer; it exists.
        room: Most messages that may be handed on and not yet `done`.
        skip: Tells of a message that nobody wants it; it is acknowledged at once.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        *,
        room: int,
        skip: Callable[[Msg], bool] | None = None,
    ) -> None:
        self.messages: asyncio.Queue[Msg | ConsumerLost | None] = asyncio.Queue()  # None: the end
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = f"_INBOX.{ids.new()}"
        self._numbers = itertools.count(1)
        self._room = room
        self._skip = skip
        self._taken = 0  # messages handed on and not yet `done`
        self._open: str | None = None  # reply subject of the open request
        self._remaining = 0  # messages that it may still bring
        self._heard = 0.0
        self._wake = asyncio.Event()

    def done(self) -> None:
        """Make room for one more message."""
        self._taken -= 1
        if self._may_ask():
            self._wake.set()

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do work beside the messages; a bug in it ends them, so that nobody waits in vain."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("consumer.broken", subject=self._subject, exc_info=error)
        self.messages.put_nowait(ConsumerLost(f"broken by a bug: {error!r}"))

    def _may_ask(self) -> bool:
        """Tell whether to ask for more: never for a few at a time while there is plenty."""
        free = self._room - self._taken
        plenty = 2 * free < self._room and not self.messages.empty()
        return self._open is None and free > 0 and not plenty

    async def run(self) -> None:
        """Pull until cancelled."""
        loop = asyncio.get_running_loop()
        client = self._connection.client
        subscription = await client.listen(f"{self._inbox}.*", self._on_message)
        watch = asyncio.create_task(self._watch_reconnects())
        try:
            while True:
                self._wake.clear()
                if self._open and loop.time() - self._heard > 3 * HEARTBEAT_S:
                    self._open = None
                if self._may_ask():
                    await self._ask(self._room - self._taken)
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._wake.wait()
        finally:
            await end(watch)
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _ask(self, count: int) -> None:
        self._open = f"{self._inbox}.{next(self._numbers)}"
        self._remaining = count
        self._heard = asyncio.get_running_loop().time()
        request = {
            "batch": count,
            "expires": EXPIRES_S * 1_000_000_000,
            "idle_heartbeat": HEARTBEAT_S * 1_000_000_000,
        }
        try:
            await self._connection.publish(
                self._subject, msgspec.json.encode(request), reply=self._open
            )
        except LogUnavailable:
            self._open = None

    def _on_message(self, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        if message.reply.startswith("$JS.ACK."):
            self._remaining -= 1
            if self._remaining <= 0:
                self._end()
            if self._skip is not None and self._skip(message):
                self._connection.client.send_late(Message(message.reply, b"+ACK", {}))
                return  # where the answer is lost it comes again
            self._taken += 1
            self.messages.put_nowait(message)
            return
        status = headers_of(message).get("Status")
        if message.subject != self._open or status == "100":
            return
        self._end()  # by time (404, 408), by some change (409), or unheard (503)
        # Where a status comes without a description, nats-py takes the headers for one.
        description = str(headers_of(message).get("Description", "")).partition("\n")[0].strip()
        if status == "503" or (status == "409" and "Consumer Deleted" in description):
            self.messages.put_nowait(ConsumerLost(description or "no consumer"))

    def _end(self) -> None:
        self._open = None
        self._wake.set()

    async def _watch_reconnects(self) -> None:
        """After a reconnect the server knows nothing of our open request."""
        while True:
            async with self._connection.reconnected:
                await self._connection.reconnected.wait()
            self._end()
