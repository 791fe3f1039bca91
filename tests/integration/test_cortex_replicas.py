"""Whole processes with real servers tend the same agents, and are killed: all is written once."""

import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from projections import runs
from schemas.base import MemoryId
from schemas.cortex import (
    BriefingWritten,
    CortexEvent,
    KnowledgeSynthesised,
    MemoriesAssociated,
    SynthesisRequested,
)
from schemas.memory import MemoryLinked, MemorySaved
from schemas.run import ModelReturned, RunEnded, RunEvent, RunStarted
from schemas.subjects import Subject
from services.cortex import loops
from services.projector.check import check
from services.projector.source import LogSource
from services.runtime import registry
from services.runtime.cancelling import end
from services.runtime.config import Config, CortexSettings
from services.runtime.database import using
from services.runtime.embedded.servers import Urls
from services.runtime.event_log import EVERYTHING
from services.runtime.process import Process, opened
from tests.support.builders import message
from tests.support.servers import until

pytestmark = pytest.mark.integration

MEMORY = Subject("default", "main", entity="memory")
ROOM = Subject("default", "main", "portal", "room")


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


@asynccontextmanager
async def running(config, urls):
    """Run the projector and the cortex in a process of its own connections."""
    async with opened(config, urls) as process:
        await process.define_agents()
        found = {**registry.build("projector", process), **registry.build("cortex", process)}
        tasks = [asyncio.create_task(loop()) for loop in found.values()]
        try:
            yield process
            assert not [task for task in tasks if task.done()]
        finally:
            process.stopping.set()
            await end(*tasks)


@asynccontextmanager
async def killed(*arguments):
    """A cortex that runs on its own; it is killed, never asked to stop."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.cortex_process", *arguments),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def written(process: Process, kind) -> list:
    return [r.event async for r in process.log.read(EVERYTHING) if isinstance(r.event, kind)]


async def test_two_replicas_write_everything_once(
    empty_nats_url, database_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(loops, "EVERY_S", 0.05)
    monkeypatch.setattr(loops, "SELDOM_S", 0.05)
    settings = CortexSettings(briefing_interval_s=0, synthesis_memories=10)
    config = Config(data_dir=tmp_path, cortex=settings, model="offline/rules")
    urls = Urls(nats=empty_nats_url, database=database_url)
    memories = [f"the server number {number} is called heron" for number in range(12)]
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(running(config, urls)) for _ in range(2)]
        writer = one.writer("test")
        await one.log.append(str(ROOM), writer.seal(message("who called it heron?", group=True)))
        for number, text in enumerate(memories):
            saved = MemorySaved(
                memory_id=MemoryId(f"m{number}"), kind="fact", text=text, importance=0.5
            )
            await one.log.append(str(MEMORY), writer.seal(saved))

        async def done() -> bool:
            compared = [
                id_ for e in await written(other, MemoriesAssociated) for id_ in e.memory_ids
            ]
            syntheses = await written(other, KnowledgeSynthesised)
            briefings = await written(other, BriefingWritten)
            shown = briefings and str(briefings[-1])
            return len(compared) == 12 and bool(syntheses) and "called heron." in (shown or "")

        await until(done, timeout_s=60)

        compared = [id_ for e in await written(other, MemoriesAssociated) for id_ in e.memory_ids]
        assert Counter(compared) == Counter(f"m{number}" for number in range(12))
        links = [(e.memory_id, e.to) for e in await written(other, MemoryLinked)]
        assert links
        assert {*Counter(links).values()} == {1}
        asked = await written(other, SynthesisRequested)
        runs = {event.run_id for event in asked}
        assert len(runs) == len(asked) == len(await written(other, KnowledgeSynthesised))
        assert len(await written(other, ModelReturned)) == len(await written(other, RunStarted))
        briefings = await written(other, BriefingWritten)
        assert all(before != after for before, after in pairwise(briefings))
        assert "who called it heron?" in str(briefings[-1])


KILLS = 6


async def test_kill_nine_in_the_middle_loses_nothing_and_doubles_nothing(
    empty_nats_url, database_url, tmp_path
):
    urls = Urls(nats=empty_nats_url, database=database_url)
    arguments = (empty_nats_url, database_url, str(tmp_path))
    async with opened(Config(data_dir=tmp_path), urls) as process:
        await process.define_agents()
        projecting = asyncio.create_task(registry.build("projector", process)["projector"]())
        saved = 0

        async def save(count) -> None:
            nonlocal saved
            for _ in range(count):
                text = f"the server number {saved} is called heron"
                memory = MemorySaved(
                    memory_id=MemoryId(f"m{saved}"), kind="fact", text=text, importance=0.5
                )
                await process.log.append(str(MEMORY), process.writer("test").seal(memory))
                saved += 1

        async def cortex_events() -> int:
            return len(await written(process, CortexEvent | RunEvent))

        for number in range(KILLS):
            await save(7)
            before = await cortex_events()

            async def further(before=before, number=number) -> bool:
                return await cortex_events() > before + number  # each time at another point

            async with killed(*arguments):
                await until(further, timeout_s=60)

        async def done() -> bool:
            compared = await written(process, MemoriesAssociated)
            asked = await written(process, SynthesisRequested)
            concluded = await written(process, KnowledgeSynthesised)
            return (
                sum(len(event.memory_ids) for event in compared) >= saved
                and len(asked) == len(concluded)
                and len(asked[-1].memories) == saved
            )

        async def nothing_open() -> bool:
            async with using(process.pool) as conn:
                return await runs.open_counts(conn) == []

        async with killed(*arguments):
            await until(done, timeout_s=90)
        await until(nothing_open, timeout_s=30)  # the read model is a moment behind
        await end(projecting)

        compared = [id_ for e in await written(process, MemoriesAssociated) for id_ in e.memory_ids]
        assert Counter(compared) == Counter(f"m{number}" for number in range(saved))
        links = Counter((e.memory_id, e.to) for e in await written(process, MemoryLinked))
        assert {*links.values()} == {1}
        asked = Counter(event.run_id for event in await written(process, SynthesisRequested))
        for kind in (KnowledgeSynthesised, ModelReturned, RunStarted, RunEnded):
            assert Counter(event.run_id for event in await written(process, kind)) == asked
        briefings = await written(process, BriefingWritten)
        assert all(before != after for before, after in pairwise(briefings))
        for name in ("activity", "runs"):
            assert (await check(process.pool, name, LogSource(process.log))).different == 0
