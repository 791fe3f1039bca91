"""Live traffic in this process, kept so that a test can look at it."""

import asyncio
from collections.abc import AsyncIterator


class FakeLive:
    """Passes on to whoever listens now."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self._listeners: dict[str, list[asyncio.Queue[bytes]]] = {}

    async def publish(self, subject: str, body: bytes) -> None:
        self.published.append((subject, body))
        for queue in self._listeners.get(subject, []):
            queue.put_nowait(body)

    async def anyone(self, subject: str) -> bool:
        return bool(self._listeners.get(subject))

    async def listen(self, subject: str) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._listeners.setdefault(subject, []).append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners[subject].remove(queue)
