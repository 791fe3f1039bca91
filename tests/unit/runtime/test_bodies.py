"""What is too large for an event is kept once, under its hash."""

import hashlib

import msgspec
import pytest

from schemas.base import BodyRef, EventId, RunId
from schemas.channel import WorkerConcluded
from schemas.envelope import MAX_EVENT_BYTES, encode, seal
from schemas.run import ModelReturned, ToolCall
from services.errors import Permanent
from services.runtime.bodies import INLINE_BYTES, CachedBodies, content, reference, text_of
from services.runtime.run_loop import RECORDED_CALLS_BYTES
from tests.support.fake_log import FakeBodies


class CountedBodies(FakeBodies):
    """A store that counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def get(self, ref: BodyRef) -> bytes:
        self.reads += 1
        return await super().get(ref)


def test_a_reference_names_hash_size_and_type():
    assert reference(b"text", "text/markdown") == BodyRef(
        sha256=hashlib.sha256(b"text").hexdigest(), bytes=4, media_type="text/markdown"
    )


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES - 2])
async def test_short_text_stays_in_the_event(size):
    bodies = FakeBodies()
    assert await content(bodies, "x" * size) == "x" * size
    assert bodies.bodies == {}


async def test_long_text_is_kept_and_read_back():
    bodies = FakeBodies()
    text = "é" * INLINE_BYTES
    kept = await content(bodies, text)
    assert isinstance(kept, BodyRef)
    assert await text_of(bodies, kept) == text


async def test_what_is_no_text_is_still_shown():
    bodies = FakeBodies()
    assert await text_of(bodies, await bodies.put(b"caf\xe9")) == "caf\ufffd"


@pytest.mark.parametrize("character", ["x", "é", "👍", '"', "\\", "\n", "\x01"])
async def test_text_that_grows_when_it_is_escaped_is_kept_by_reference(character):
    for size in (100, 1_000, 2_000, 8_000, INLINE_BYTES, 20_000):
        kept = await content(FakeBodies(), character * size)
        assert len(msgspec.json.encode(kept)) <= INLINE_BYTES


@pytest.mark.parametrize("character", ["x", "é", "👍", '"', "\x01"])
def test_a_text_that_was_cut_to_the_limit_fits_with_its_reason(character):
    text = (character * INLINE_BYTES).encode()[:INLINE_BYTES].decode(errors="ignore")
    event = WorkerConcluded(
        run_id=RunId("r" * 36), outcome="cancelled", result=f"{text}\n{character * 1_000}"
    )
    assert len(encode(seal(event, id=EventId("e" * 36), at=1, actor="worker"))) < MAX_EVENT_BYTES


async def test_an_answer_with_the_longest_text_and_calls_fits():
    text = await content(FakeBodies(), "x" * (INLINE_BYTES - 2))
    arguments = "x" * (RECORDED_CALLS_BYTES - 100)
    wanted = ToolCall(id="s1c0", name="shell", arguments=arguments)
    event = ModelReturned(
        run_id=RunId("r" * 36), step=1, model="m" * 100, text=text, tool_calls=(wanted,)
    )
    assert len(encode(seal(event, id=EventId("e" * 36), at=1, actor="worker"))) < MAX_EVENT_BYTES


# -- the cache --------------------------------------------------------------------------------


async def test_a_body_that_was_kept_or_read_is_not_read_again():
    store = CountedBodies()
    ref = await CachedBodies(store).put(b"one")
    cached = CachedBodies(store)
    assert [await cached.get(ref) for _ in range(3)] == [b"one"] * 3
    assert store.reads == 1
    other = await cached.put(b"two")
    assert await cached.get(other) == b"two"
    assert store.reads == 1


async def test_the_cache_forgets_what_was_not_used_for_the_longest_time():
    store = CountedBodies()
    cached = CachedBodies(store, most_bytes=10)
    one, two, three = [await cached.put(letter * 4) for letter in (b"a", b"b", b"c")]
    assert await cached.get(three) == b"cccc"
    assert await cached.get(two) == b"bbbb"
    assert store.reads == 0
    assert await cached.get(one) == b"aaaa"
    assert store.reads == 1


async def test_a_body_that_is_larger_than_the_cache_is_still_read():
    cached = CachedBodies(FakeBodies(), most_bytes=10)
    ref = await cached.put(b"x" * 100)
    assert await cached.get(ref) == b"x" * 100


async def test_a_body_that_is_nowhere_is_permanently_missing():
    with pytest.raises(Permanent):
        await CachedBodies(FakeBodies()).get(reference(b"nowhere"))
