"""Work that nobody waits for is done all the same, in order, and lets others have their turn."""

import asyncio

import pytest

from services.runtime.telemetry import later
from services.runtime.telemetry.later import AT_ONCE, Later
from tests.support.servers import until


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(later, "AFTER_S", 0.0)


async def test_everything_is_done_in_order_and_again_when_more_comes():
    done, work = [], Later()
    for round_ in range(2):
        for number in range(3 * AT_ONCE):
            work.do(lambda it=(round_, number): done.append(it))
        assert len(done) == round_ * 3 * AT_ONCE  # nothing while whoever brought it goes on

        async def all_done(count=(round_ + 1) * 3 * AT_ONCE):
            return len(done) == count

        await until(all_done, timeout_s=10)
    assert done == sorted(done)


async def test_others_have_their_turn_in_between():
    done, seen, work = [], [], Later()
    for number in range(3 * AT_ONCE):
        work.do(lambda it=number: done.append(it))

    async def all_done():
        return len(done) == 3 * AT_ONCE

    while not await all_done():
        await asyncio.sleep(0)
        seen.append(len(done))
    assert {AT_ONCE, 2 * AT_ONCE} <= set(seen)


async def test_what_is_left_at_the_end_is_done_then():
    done, work = [], Later()
    work.do(lambda: done.append(1))
    work.finish()
    assert done == [1]
    Later().finish()


async def test_work_that_fails_keeps_nothing_else_from_being_done():
    """Else nothing would ever be told again, and all of it kept for as long as the process runs."""
    done, work = [], Later()

    def fail():
        raise ValueError("a subject that is not ours")

    work.do(fail)
    work.do(lambda: done.append("behind it"))

    async def all_done():
        return done == ["behind it"]

    await until(all_done, timeout_s=10)
    work.do(fail)
    work.do(lambda: done.append("at the end"))
    work.finish()
    assert done == ["behind it", "at the end"]
