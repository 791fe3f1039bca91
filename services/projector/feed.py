"""Events in lists: what came while the last list was written goes into the next one."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import pairwise
from typing import Final, TypeVar

from services.runtime.cancelling import end
from services.runtime.closing import closing
from services.runtime.event_log import Recorded

T = TypeVar("T")

BUSY: Final = 16  # items of a list: with as many the next one may take longer to come together


async def batched(
    items: AsyncIterator[T], *, most: int, linger_s: float = 0.0, idle_s: float | None = None
) -> AsyncGenerator[list[T], None]:
    """Yield `items` in order, in lists of at most `most`, reading ahead by about two lists.

    Args:
        items: Where they come from; its errors are raised here, behind what it gave.
        most: Longest list.
        linger_s: How long an item may wait for company before it is yielded; twice as long where
            the last list had `BUSY` items or more, for then most of the work is that of a list.
        idle_s: An empty list is yielded after every such silence; None for never.
    """
    buffer: deque[T] = deque()
    busy = False
    arrived, room = asyncio.Event(), asyncio.Event()

    async def read_ahead() -> None:
        try:
            async with closing(items):
                async for item in items:
                    buffer.append(item)
                    arrived.set()
                    if len(buffer) >= 2 * most:
                        room.clear()
                        await room.wait()
        finally:
            arrived.set()

    reading = asyncio.create_task(read_ahead())
    try:
        while True:
            if not buffer:
                if reading.done():
                    reading.result()
                    return
                arrived.clear()
                if not await _happens(arrived, idle_s):
                    yield []
                continue
            if linger_s and len(buffer) < most and not reading.done():
                await asyncio.sleep(2 * linger_s if busy else linger_s)
            busy = len(buffer) >= BUSY
            yield [buffer.popleft() for _ in range(min(most, len(buffer)))]
            room.set()
    finally:
        await end(reading)


async def _happens(event: asyncio.Event, timeout_s: float | None) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False


def holes(after: int, events: Sequence[Recorded]) -> list[range]:
    """Return the sequences that are missing behind `after` and between `events`, in order."""
    seqs = [after, *(recorded.seq for recorded in events)]
    return [range(one + 1, next_one) for one, next_one in pairwise(seqs) if next_one > one + 1]
