"""Server-sent events: an answer that goes on until one of both sides leaves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from typing import Final

from litestar.types import Receive, Scope, Send

from services.runtime.cancelling import end

HEARTBEAT_S: Final = 15.0  # proxies and phones drop connections that are silent for longer
HEARTBEAT: Final = b":\n\n"
RETRY: Final = b"retry: 1000\n\n"  # how long a reader waits before it comes back, milliseconds
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or nginx would gather events before it passes them on
)


class EventStream:
    """An ASGI application that sends one stream."""

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], counted: AbstractContextManager[object]
    ) -> None:
        self._chunks = chunks
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what comes until the stream ends or the reader leaves; leave nothing behind."""
        del scope
        with self._counted:
            async with aclosing(self._chunks):
                sending = asyncio.create_task(self._send(send))
                leaving = asyncio.create_task(_until_gone(receive))
                try:
                    await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                    if sending.done():
                        sending.result()
                finally:
                    await end(sending, leaving)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
