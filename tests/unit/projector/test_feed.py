"""Events come in lists: nothing lost, nothing out of order, nobody waits for ever."""

import asyncio
from contextlib import aclosing

import pytest

from services.projector.feed import batched, holes
from tests.support.stories import Story


async def given(*items, end: asyncio.Event | None = None, error: Exception | None = None):
    for item in items:
        yield item
    if end is not None:
        await end.wait()
    if error is not None:
        raise error


async def test_everything_comes_in_order_in_lists_of_at_most_so_many():
    batches = [batch async for batch in batched(given(*range(25)), most=10)]
    assert [item for batch in batches for item in batch] == list(range(25))
    assert max(map(len, batches)) <= 10


async def test_nothing_gives_no_list():
    assert [batch async for batch in batched(given(), most=10)] == []


async def test_what_comes_together_is_yielded_together():
    async with aclosing(batched(given(1, 2, 3, end=asyncio.Event()), most=10, linger_s=0.01)) as it:
        assert await anext(it) == [1, 2, 3]


async def test_silence_yields_an_empty_list():
    async with aclosing(batched(given(1, end=asyncio.Event()), most=10, idle_s=0.01)) as it:
        assert await anext(it) == [1]
        assert await anext(it) == []
        assert await anext(it) == []


async def test_an_error_comes_behind_what_was_given_before_it():
    it = batched(given(1, 2, error=ValueError("lost")), most=10)
    assert await anext(it) == [1, 2]
    with pytest.raises(ValueError, match="lost"):
        await anext(it)


async def test_the_source_is_closed_with_the_feed():
    closed = asyncio.Event()

    async def source():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    async with aclosing(batched(source(), most=10)) as it:
        await anext(it)
    assert closed.is_set()


async def test_a_slow_reader_does_not_gather_everything_in_memory():
    given_out = 0

    async def endless():
        nonlocal given_out
        while True:
            given_out += 1
            yield given_out

    async with aclosing(batched(endless(), most=10)) as it:
        await anext(it)
        await asyncio.sleep(0)
        assert given_out <= 40


def test_holes_are_between_neighbours_and_behind_the_start():
    events = Story(1).tell(10)
    assert holes(0, events) == []
    assert holes(0, [events[2], events[3], events[6]]) == [range(1, 3), range(5, 7)]
    assert holes(0, []) == []
