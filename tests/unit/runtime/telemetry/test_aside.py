"""Work in a thread: its result, its failure, and nobody who waits for it."""

import asyncio
from threading import Event

import pytest

from services.runtime.cancelling import end
from services.runtime.telemetry.aside import aside


async def test_what_the_work_returns_or_raises_is_returned_or_raised():
    assert await aside(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 // 0)


async def test_work_that_nobody_waits_for_any_more_ends_quietly():
    go_on = Event()
    waiting = asyncio.create_task(aside(go_on.wait))
    await asyncio.sleep(0)
    await end(waiting)
    go_on.set()
    assert await aside(lambda: True)
