"""What is told of a turn waits for moments without one, but not for ever."""

import asyncio
from time import monotonic, thread_time

import pytest

from services.runtime.telemetry import quiet
from services.runtime.telemetry.quiet import Quiet


@pytest.fixture(autouse=True)
def slowly(monkeypatch):
    """So long that whatever else this machine does is a small part of it."""
    monkeypatch.setattr(quiet, "LOOK_S", 0.05)


def work(seconds):
    """Keep this thread busy for so much of the processor's time."""
    until = thread_time() + seconds
    while thread_time() < until:
        pass


async def test_work_waits_until_others_have_done_theirs(monkeypatch):
    monkeypatch.setattr(quiet, "PATIENCE_S", 60.0)
    busy = True

    async def others():
        nonlocal busy
        for _ in range(20):
            work(0.02)
            await asyncio.sleep(0.001)
        busy = False

    going_on = asyncio.create_task(others())
    await asyncio.sleep(0)
    await Quiet().moment()
    assert not busy
    await going_on


async def test_patience_ends_and_others_still_go_first(monkeypatch):
    monkeypatch.setattr(quiet, "PATIENCE_S", 0.2)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            work(0.02)
            turns += 1
            await asyncio.sleep(0)

    never_at_rest = asyncio.create_task(others())
    one = Quiet()
    started = monotonic()
    await one.moment()
    assert monotonic() - started >= 0.2
    before = turns
    await one.moment()
    assert turns > before
    never_at_rest.cancel()
