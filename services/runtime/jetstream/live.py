"""Live traffic on core NATS."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError, NoRespondersError

from services.errors import LogUnavailable
from services.runtime.jetstream.connection import Connection

ANSWER_S: Final = 0.3  # the server itself says at once when nobody listens
BACKLOG: Final = 1_000  # messages kept for a listener that lags


class NatsLive:
    """`Live` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def publish(self, subject: str, body: bytes) -> None:
        """Send to whoever listens now; see the port."""
        if self._connection.connected:
            with suppress(LogUnavailable):
                await self._connection.publish(subject, body)

    async def anyone(self, subject: str) -> bool:
        """Tell whether somebody listens there now; see the port."""
        try:
            await self._connection.client.request(subject, b"", timeout=ANSWER_S)
        except NoRespondersError:
            return False
        except (NatsError, OSError, TimeoutError):
            return True  # listeners do not answer, and a server that is away knows nothing
        return True

    async def listen(self, subject: str) -> AsyncIterator[bytes]:
        """Yield what is published from now on; see the port."""
        async with aclosing(self._messages(subject)) as messages:
            async for message in messages:
                yield message.data

    async def questions(self, subject: str) -> AsyncIterator[str]:
        """Yield where each question that comes there wants its answer."""
        async with aclosing(self._messages(subject)) as messages:
            async for message in messages:
                if message.reply:
                    yield message.reply

    async def ask_all(self, subject: str, *, wait_s: float) -> list[bytes]:
        """Ask everybody who listens there; return what they answer within `wait_s`."""
        answers: list[bytes] = []
        inbox = self._connection.inbox(lambda message: answers.append(message.data))
        try:
            await self._connection.publish(subject, reply=inbox)
            await asyncio.sleep(wait_s)
        finally:
            self._connection.forget(inbox)
        return [answer for answer in answers if answer]

    async def _messages(self, subject: str) -> AsyncGenerator[Msg, None]:
        queue: asyncio.Queue[Msg] = asyncio.Queue()

        async def on_message(message: Msg) -> None:
            if queue.qsize() >= BACKLOG:
                queue.get_nowait()
            queue.put_nowait(message)

        subscription = await self._connection.client.subscribe(subject, cb=on_message)
        try:
            while True:
                yield await queue.get()
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()
