"""Documents are read in a process of their own, and what is wrong with one harms no other."""

import asyncio
import os
import signal

import pytest

from services.ingest.passage import Unreadable
from services.ingest.reader import Reader
from tests.support.pdfs import bomb, pdf

pytestmark = pytest.mark.integration

MEMORY = 512 * 1024 * 1024


@pytest.fixture
async def reader():
    reader = Reader(read_s=60.0, memory_bytes=MEMORY)
    yield reader
    await reader.close()


async def text(reader, content, name="a.md"):
    found = await reader.read(name, content)
    return found if isinstance(found, Unreadable) else [passage.text for passage in found]


async def test_documents_are_read_one_after_the_other_by_one_process(reader):
    found = await asyncio.gather(*(text(reader, b"number %d" % n) for n in range(20)))
    assert found == [[f"number {n}"] for n in range(20)]
    assert await text(reader, pdf("Hello from a PDF."), "a.pdf") == ["Hello from a PDF."]


async def test_a_large_document_fits_through_the_pipe(reader):
    found = await text(reader, b"A sentence of a long text. " * 300_000)
    assert sum(map(len, found)) > 7_000_000


async def test_what_unpacks_into_more_than_there_is_room_for_is_refused(reader):
    found = await text(reader, bomb(700), "bomb.pdf")
    assert isinstance(found, Unreadable)
    assert found.reason in {"too_large", "damaged"}
    assert await text(reader, b"goes on") == ["goes on"]


async def test_a_document_that_takes_too_long_is_refused_and_the_next_is_read():
    reader = Reader(read_s=1.0, memory_bytes=MEMORY)
    try:
        found = await text(reader, b"x" * 20_000_000)  # half a minute
        assert isinstance(found, Unreadable)
        assert "longer than 1 s" in found.detail
        assert await text(reader, b"goes on") == ["goes on"]
    finally:
        await reader.close()


async def test_a_reader_that_says_nothing_any_more_is_replaced():
    reader = Reader(read_s=0.5, memory_bytes=MEMORY)
    try:
        await text(reader, b"warm")
        os.kill(reader._process.pid, signal.SIGSTOP)
        found = await text(reader, b"never answered")
        assert isinstance(found, Unreadable)
        assert "longer than 0.5 s" in found.detail
        assert await text(reader, b"goes on") == ["goes on"]
    finally:
        await reader.close()


async def test_a_reader_that_is_killed_is_started_again(reader):
    await text(reader, b"warm")
    os.kill(reader._process.pid, signal.SIGKILL)
    assert await text(reader, b"goes on") == ["goes on"]


async def test_a_question_that_is_given_up_is_not_answered_to_the_next(reader):
    await text(reader, b"warm")
    asking = asyncio.create_task(text(reader, b"A sentence. " * 500_000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await text(reader, b"mine") == ["mine"]


async def test_the_reader_knows_no_secret_of_ours(reader, monkeypatch):
    monkeypatch.setenv("PENSTOCK_TOKEN", "swordfish")
    await text(reader, b"warm")
    with open(f"/proc/{reader._process.pid}/environ", "rb") as file:  # noqa: ASYNC230, PTH123
        assert b"swordfish" not in file.read()
