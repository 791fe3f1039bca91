"""Fifty conversations at once: message received to model asked, and answer to reply.

Each says something, waits for the reply, thinks for 0.5 to 1 s, and goes on. The model is in a
process of its own, behind LiteLLM and HTTP, and answers at once: that is the most load that
these people can make.
"""

import asyncio
import random
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import msgspec

from schemas.channel import MessageReceived, Person, ReplySent
from schemas.subjects import Subject, matching
from services.runtime.cancelling import end
from services.runtime.clock import SystemClock
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.litellm_model import LiteLLMModel
from services.runtime.model import Message, ModelRequest
from services.runtime.model_access import Access
from services.runtime.writer import Writer
from tests.bench import stand
from tests.bench.figures import Figure, percentile

CONVERSATIONS = 50
WARM_UP_S = 8.0
WINDOW_S = 12.0
WINDOWS = 3
THINK_S = (0.5, 1.0)
REPLY_S = 60.0
PEOPLE = "bench"

Say = Callable[[str, str], Awaitable[None]]
"""Says `text` in a conversation and returns when the reply is there."""


@dataclass
class Times:
    """When what happened, by key of the message; seconds of the monotonic clock."""

    received: dict[str, float] = field(default_factory=dict)
    """The log has acknowledged it."""
    replied: dict[str, float] = field(default_factory=dict)
    """The reply was seen in the log."""

    def spans(self, model: Sequence[tuple[str, float, float]]) -> tuple[list[float], list[float]]:
        """Return milliseconds from message to request, and from answer to reply."""
        asked = [(at - self.received[key]) * 1e3 for key, at, _ in model if key in self.received]
        told = [(self.replied[key] - done) * 1e3 for key, _, done in model if key in self.replied]
        return asked, told


@dataclass(frozen=True)
class Spans:
    """What one way of running it took, in milliseconds, one value for each window."""

    asked_p50: float
    asked_p99: float
    told_p50: float
    told_p99: float
    turns_per_s: float


class People:
    """Talk to an installation over its log."""

    def __init__(self, event_log: JetStreamLog, times: Times) -> None:
        self._log = event_log
        self._writer = Writer(event_log, SystemClock(), "bench")
        self._times = times
        self._waiting: dict[str, asyncio.Event] = {}
        self._asked: dict[str, str] = {}

    async def say(self, conversation: str, key: str) -> None:
        """Say something with `key` in it and wait for the reply."""
        subject = str(Subject("default", "main", PEOPLE, conversation))
        heard = self._waiting[conversation] = asyncio.Event()
        self._asked[conversation] = key
        message = MessageReceived(
            message_id=key,
            author=Person(id="bench:ana", name="ana"),
            text=f"key={key} what is new about the release, and where are the notes?",
        )
        await self._log.append(subject, self._writer.seal(message))
        self._times.received[key] = time.monotonic()
        async with asyncio.timeout(REPLY_S):
            await heard.wait()

    async def listen(self) -> None:
        """Hear replies, for ever."""
        pattern = matching(adapter=PEOPLE, entity="channel")
        async for recorded in self._log.tail(pattern, after=0):
            if isinstance(recorded.event, ReplySent):
                conversation = recorded.subject.split(".")[4]
                self._times.replied[self._asked[conversation]] = time.monotonic()
                self._waiting[conversation].set()


async def crowd(say: Say, name: str, seconds: float) -> int:
    """Talk in every conversation for so long; return how many turns that made."""
    until = time.monotonic() + seconds
    chance = random.Random(name)  # noqa: S311 - spreads people
    turns = 0

    async def person(number: int) -> None:
        nonlocal turns
        await asyncio.sleep(chance.uniform(0, THINK_S[1]))
        while time.monotonic() < until:
            turns += 1
            await say(f"c{number}", f"{name}-{number}-{turns}")
            await asyncio.sleep(chance.uniform(*THINK_S))

    async with asyncio.TaskGroup() as group:
        for number in range(CONVERSATIONS):
            group.create_task(person(number))
    return turns


async def measure(say: Say, times: Times, model_url: str) -> Spans:
    """Warm up, then talk in windows; return the median of each figure over them."""
    await crowd(say, "warm", WARM_UP_S)
    await _model_times(model_url)
    windows = []
    for window in range(WINDOWS):
        turns = await crowd(say, f"w{window}", WINDOW_S)
        asked, told = times.spans(await _model_times(model_url))
        windows.append((*_percentiles(asked), *_percentiles(told), turns / (WINDOW_S + THINK_S[1])))
    return Spans(*(median(values) for values in zip(*windows, strict=True)))


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    return percentile(values, 50), percentile(values, 99)


async def _model_times(model_url: str) -> list[tuple[str, float, float]]:
    address = model_url.removesuffix("/v1") + "/times"
    raw = await asyncio.to_thread(lambda: urllib.request.urlopen(address).read())  # noqa: S310
    return msgspec.json.decode(raw, type=list[tuple[str, float, float]])


async def through(data_dir: Path, model_url: str) -> Spans:
    """Talk to the installation that runs in `data_dir`."""
    connection = await Connection.open(stand.urls_of(data_dir).nats, name="bench")
    times = Times()
    people = People(JetStreamLog(connection), times)
    listening = asyncio.create_task(people.listen())
    try:
        return await measure(people.say, times, model_url)
    finally:
        await end(listening)
        await connection.close()


async def bare(data_dir: Path, model_url: str) -> Spans:
    """Do without Penstock: put the message on the log, ask LiteLLM, put the reply on the log."""
    connection = await Connection.open(stand.urls_of(data_dir).nats, name="bench")
    event_log = JetStreamLog(connection)
    writer = Writer(event_log, SystemClock(), "bench")
    model = LiteLLMModel(Access(bases={"openai": model_url}))
    times = Times()

    async def say(conversation: str, key: str) -> None:
        subject = str(Subject("default", "main", "bare", conversation, "dead"))
        text = f"key={key} what is new about the release, and where are the notes?"
        person = Person(id="bench:ana", name="ana")
        message = MessageReceived(message_id=key, author=person, text=text)
        await event_log.append(subject, writer.seal(message))
        times.received[key] = time.monotonic()
        request = ModelRequest(model=stand.MODEL, messages=(Message(role="user", content=text),))
        answer = await model.complete(request)
        reply = ReplySent(turn_id=key, text=answer.tool_calls[0].arguments)
        await event_log.append(subject, writer.seal(reply))
        times.replied[key] = time.monotonic()

    try:
        await model.warm()
        return await measure(say, times, model_url)
    finally:
        await model.aclose()
        await connection.close()


async def run() -> list[Figure]:
    """Measure the installation in one process, its channel apart, and the bare loop."""
    async with AsyncExitStack() as stack:
        server = stand.running("-m", "tests.bench.model", variables=stand.environment(Path()))
        model_url = await stand.line_of(await stack.enter_async_context(server))
        data_dir = stack.enter_context(stand.directory())
        async with stand.up(data_dir, model_url):
            whole = await through(data_dir, model_url)
            without = await bare(data_dir, model_url)
        other_dir = stack.enter_context(stand.directory())
        groups = ("channel", "projector branch worker")
        async with stand.apart(other_dir, *groups, model_url=model_url):
            alone = await through(other_dir, model_url)
    return [*_figures("", whole, without), *_figures(", channel apart", alone, without)]


def _figures(how: str, spans: Spans, without: Spans) -> list[Figure]:
    asked, told = f"message to model request{how}", f"model answer to reply{how}"
    return [
        Figure(
            name=f"{asked}, p50",
            value=spans.asked_p50,
            unit="ms",
            at_most=10.0,
            bare=without.asked_p50,
            note=f"{CONVERSATIONS} conversations, {spans.turns_per_s:.0f} turns/s",
        ),
        Figure(
            name=f"{asked}, p99",
            value=spans.asked_p99,
            unit="ms",
            at_most=40.0,
            bare=without.asked_p99,
        ),
        Figure(
            name=f"{told}, p50",
            value=spans.told_p50,
            unit="ms",
            at_most=8.0,
            bare=without.told_p50,
        ),
        Figure(name=f"{told}, p99", value=spans.told_p99, unit="ms", bare=without.told_p99),
    ]
