"""What tracing costs a turn: one installation that tells every span, one that tells none.

Both run at once, each in one process, and take turns at being talked to, in blocks that are
compared in pairs: what slows the machine down for a while slows both. The model answers at once,
so nothing of the cost hides behind it; the collector is a process of its own.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from schemas.base import EventId
from schemas.channel import MessageReceived, Person, ReplySent
from schemas.subjects import Subject, matching
from services.runtime import ids
from services.runtime.cancelling import end
from services.runtime.clock import SystemClock
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.telemetry.context import TraceContext, span_of, trace_of
from services.runtime.writer import Writer
from tests.bench import stand
from tests.bench.figures import Figure
from tests.bench.startup import _cpu_s as cpu_s

PEOPLE = "bench"
CONVERSATIONS = 4
THINK_S = (0.2, 0.4)
WARM_UP_S = 6.0
BLOCK_S = 5.0
REST_S = 2.3  # after a block, in which what was still to be told is told
PAIRS = 20
REPLY_S = 30.0
SPANS = 5  # of a turn with one model call and a reply, at least


class Block(NamedTuple):
    """What one side took while it was talked to."""

    latencies: tuple[float, ...]
    """Milliseconds, of each turn."""
    cpu_ms: float
    """Of each turn, on average."""


@dataclass
class Side:
    """One installation, and people who talk to it."""

    log: JetStreamLog
    pid: int
    traced: bool
    latencies: list[float] = field(default_factory=list)
    """Milliseconds from the acknowledged message to the reply in the log, since last looked."""
    turns: int = 0
    numbers: "count[int]" = field(default_factory=count)
    heard: dict[str, asyncio.Event] = field(default_factory=dict)
    replied: dict[str, float] = field(default_factory=dict)

    async def listen(self) -> None:
        """Hear replies, for ever."""
        async for recorded in self.log.tail(matching(adapter=PEOPLE, entity="channel"), after=0):
            if isinstance(recorded.event, ReplySent):
                conversation = recorded.subject.split(".")[4]
                self.replied[conversation] = time.monotonic()
                self.heard[conversation].set()

    async def say(self, conversation: str) -> None:
        """Say something and wait for the reply."""
        key, id_ = f"k{next(self.numbers)}", ids.event_id()
        heard = self.heard[conversation] = asyncio.Event()
        message = MessageReceived(
            message_id=key,
            author=Person(id="bench:ana", name="ana"),
            text=f"key={key} what is new about the release, and where are the notes?",
        )
        header = _header(id_) if self.traced else None
        writer = Writer(self.log, SystemClock(), "bench")
        envelope = writer.seal(message, id=id_, traceparent=header)
        await self.log.append(str(Subject("default", "main", PEOPLE, conversation)), envelope)
        received = time.monotonic()
        async with asyncio.timeout(REPLY_S):
            await heard.wait()
        self.latencies.append((self.replied[conversation] - received) * 1e3)
        self.turns += 1

    async def talk(self, seconds: float) -> None:
        """Let people talk for so long."""
        until = time.monotonic() + seconds
        chance = random.Random(0)  # noqa: S311 - spreads people

        async def person(number: int) -> None:
            while time.monotonic() < until:
                await asyncio.sleep(chance.uniform(*THINK_S))
                await self.say(f"c{number}")

        async with asyncio.TaskGroup() as group:
            for number in range(CONVERSATIONS):
                group.create_task(person(number))

    async def block(self) -> Block:
        """Return the latencies of a block, and the processor's milliseconds for a turn."""
        self.latencies.clear()
        turns, before = self.turns, cpu_s(self.pid)
        await self.talk(BLOCK_S)
        await asyncio.sleep(REST_S)
        spent = (cpu_s(self.pid) - before) * 1e3 / (self.turns - turns)
        return Block(tuple(self.latencies), spent)


def _header(id_: EventId) -> str | None:
    return TraceContext(trace_of(id_), span_of(id_)).header


async def run() -> list[Figure]:
    """Compare the two in pairs of blocks, each first as often as second."""
    async with AsyncExitStack() as stack:
        nothing = stand.environment(Path())
        model = stand.running("-m", "tests.bench.model", variables=nothing)
        model_url = await stand.line_of(await stack.enter_async_context(model))
        listening = stand.running("-m", "tests.bench.collector", variables=nothing)
        collector = await stack.enter_async_context(listening)
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": await stand.line_of(collector)}
        plain = await _side(stack, model_url, {})
        traced = await _side(stack, model_url, endpoint)
        for side in (plain, traced):
            await side.talk(WARM_UP_S)
        found = await _pairs(plain, traced)
        collector.terminate()
        told = int(await stand.line_of(collector))
    if told < SPANS * traced.turns:
        raise RuntimeError(f"{told} spans were told of {traced.turns} turns: that is no tracing")
    return _figures(found, told, traced.turns)


async def _side(stack: AsyncExitStack, model_url: str, more: dict[str, str]) -> Side:
    data_dir = stack.enter_context(stand.directory())
    process, _ = await stack.enter_async_context(stand.up(data_dir, model_url, more))
    connection = await Connection.open(stand.urls_of(data_dir).nats, name="bench")
    stack.push_async_callback(connection.close)
    side = Side(JetStreamLog(connection), process.pid, traced=bool(more))
    listening = asyncio.create_task(side.listen())
    stack.push_async_callback(end, listening)
    return side


async def _pairs(plain: Side, traced: Side) -> list[tuple[Block, Block]]:
    found = []
    for number in range(PAIRS):
        if number % 2:
            with_, without = await traced.block(), await plain.block()
        else:
            without, with_ = await plain.block(), await traced.block()
        found.append((without, with_))
    return found


def _figures(found: Sequence[tuple[Block, Block]], told: int, turns: int) -> list[Figure]:
    p50s = [(median(without.latencies), median(with_.latencies)) for without, with_ in found]
    low, _, high = quantiles([_more(*pair) for pair in p50s], n=4)
    spent = [_more(without.cpu_ms, with_.cpu_ms) for without, with_ in found]
    # Of all turns: the median of a single block wavers by more than what is looked for.
    plain, traced = (median(chain(*(pair[side].latencies for pair in found))) for side in (0, 1))
    return [
        Figure(
            name="every turn traced, added latency, p50",
            value=_more(plain, traced),
            unit="%",
            at_most=5.0,
            note=f"{plain:.2f} and {traced:.2f} ms; half of {PAIRS} pairs from {low:.1f} to "
            f"{high:.1f} %; {told / turns:.1f} spans a turn",
        ),
        Figure(
            name="every turn traced, added processor time",
            value=median(spent),
            unit="%",
            note=f"{median(with_.cpu_ms for _, with_ in found):.1f} ms a turn in all",
        ),
    ]


def _more(without: float, with_: float) -> float:
    """Return how many percent more one is than the other."""
    return (with_ / without - 1) * 100
