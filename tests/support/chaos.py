"""People who talk, a model that keeps count, and the promises that must hold whatever is killed.

Every message carries a token. The model acknowledges each token that it has not acknowledged in
the history it is shown, delegates those that ask for it, and passes on each result once. So a lost
message is a token without acknowledgement, and a doubled reply is one with two.
"""

import asyncio
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    MessageReceived,
    Person,
    ReplySent,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerRequested,
)
from schemas.memory import MemorySaved
from schemas.run import ModelCalled, ModelReturned, RunEnded, ToolReturned
from schemas.subjects import Subject, parse
from services.errors import Transient
from services.runtime.event_log import EventLog, Recorded
from services.runtime.intake import Intake
from tests.support.scripts import Answer

TOKEN = re.compile(r"\b[pbw]-\d+-\d+\b")
RESULT = re.compile(r"^\[result of (?:branch|worker) [^\]]+\] \(\w+\)\n(.*)", re.DOTALL)


def brain(chance: random.Random, slowest_s: float = 0.3):
    """Return a model: what it answers depends on what it is shown alone, how fast on chance."""

    def answer(body):
        names = {tool["function"]["name"] for tool in body.get("tools", [])}
        messages = [m for m in body["messages"] if m["role"] != "system"]
        decided = (
            _turn(messages)
            if "reply" in names
            else _worker(messages)
            if "shell" in names
            else _branch(messages)
        )
        return msgspec.structs.replace(decided, first_after_s=chance.uniform(0, slowest_s))

    return answer


def _call(name, **arguments):
    return (name, msgspec.json.encode(arguments).decode())


def _turn(messages):
    said = [m["content"] for m in messages if m["role"] == "assistant" and m.get("content")]
    told = set(TOKEN.findall(" ".join(said)))
    heard, results = [], []
    for message in messages:
        text = message.get("content") or ""
        if message["role"] != "user":
            continue
        if result := RESULT.match(text):
            results += TOKEN.findall(result.group(1))
        elif text.startswith("[person]"):
            heard += TOKEN.findall(text)
    done = set(re.findall(r"done ([pbw]-\d+-\d+)", " ".join(said)))
    new = [token for token in heard if token not in told]
    back = [token for token in results if token not in done]
    calls = [
        _call("branch" if token[0] == "b" else "spawn_worker", task=f"do {token}")
        for token in new
        if token[0] in "bw"
    ]
    words = [f"ack {token}" for token in new] + [f"done {token}" for token in back]
    last = _call("reply", text=" ".join(words)) if words else _call("skip", reason="nothing new")
    return Answer(tool_calls=(*calls, last))


def _task(messages):
    return next(
        TOKEN.findall(m["content"])[0]
        for m in messages
        if m["role"] == "user" and m["content"].startswith("[task]")
    )


def fact(token: str) -> str:
    """Return what a branch is to remember: new to the gate, however much it is like the others."""
    return f"Visitor {token} has a yellow badge."


def _branch(messages):
    token = _task(messages)
    if not any(m["role"] == "tool" for m in messages):
        return Answer(tool_calls=(_call("memory_save", content=fact(token)),))
    return Answer(text=f"thought {token}")


def _worker(messages):
    token = _task(messages)
    results = [m for m in messages if m["role"] == "tool"]
    if not results:
        return Answer(
            tool_calls=(_call("shell", command=f"echo {token} >> log.txt; echo {token}"),)
        )
    status = f"worked {token}"
    return Answer(
        tool_calls=(_call("set_status", status=status, kind="outcome", outcome="succeeded"),)
    )


@dataclass
class Crowd:
    """People in many conversations at once."""

    intake: Intake
    conversations: int
    messages: int
    """Per conversation."""
    pause_s: tuple[float, float]
    seed: int = 0
    kinds: str = "pppbw"
    """What they ask for, picked at random: a plain answer, a branch, a worker."""
    sent: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    async def talk(self) -> None:
        await asyncio.gather(*(self._talk(number) for number in range(self.conversations)))

    async def _talk(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")  # noqa: S311 - repeatable, not secret
        to = Subject("default", "main", "portal", f"room-{number}")
        for index in range(self.messages):
            await asyncio.sleep(chance.uniform(*self.pause_s))
            token = f"{chance.choice(self.kinds)}-{number}-{index}"
            await self._say(to, token)
            self.sent[to.conversation].append(token)

    async def _say(self, to: Subject, token: str) -> None:
        while True:
            try:
                await self.intake.message(
                    to, author=Person(id="portal:p", name="person"), text=token, message_id=token
                )
            except Transient:
                await asyncio.sleep(0.2)  # as an adapter would: the same message again
            else:
                return


@dataclass
class Verdict:
    """What the log says happened."""

    problems: list[str]
    events: int
    turns: int
    resumed: int
    runs: int
    unsettled: list[str]


class Tally:
    """Counts what the log says, and tells which promises it breaks."""

    def __init__(self) -> None:
        self.events = 0
        self.broken: list[str] = []
        self.open_turn: dict[str, str] = {}
        self.received: dict[str, str] = {}
        self.resumed = 0
        self.starts, self.ends, self.handled = Counter(), Counter(), Counter()
        self.acks, self.dones, self.memories = Counter(), Counter(), Counter()
        self.order = defaultdict(list)
        self.requested: set[str] = set()
        self.concluded, self.terminal = Counter(), Counter()
        self.returned, self.results = Counter(), Counter()

    def take(self, recorded: Recorded) -> None:
        """Count one event; breaches of order show at once."""
        self.events += 1
        room = parse(recorded.subject).conversation
        match recorded.event:
            case TurnStarted() | TurnResumed() | TurnCompleted() | TurnFailed() as event:
                self._turn(room, event)
            case MessageReceived(text=text):
                self.received[recorded.envelope.id] = text
            case ReplySent(text=text):
                self._reply(room, text)
            case MemorySaved(text=text):
                self.memories[text] += 1
            case BranchRequested(run_id=run) | WorkerRequested(run_id=run):
                self.requested.add(run)
            case BranchConcluded(run_id=run) | WorkerConcluded(run_id=run):
                self.concluded[run] += 1
            case ModelCalled() | ModelReturned() | ToolReturned() | RunEnded() as event:
                self._step(event)

    def _turn(self, room: str, event) -> None:
        match event:
            case TurnStarted(turn_id=turn):
                self.starts[turn] += 1
                if room in self.open_turn:
                    inside = self.open_turn[room]
                    self.broken.append(f"{room}: turn {turn} started inside {inside}")
                self.open_turn[room] = turn
            case TurnResumed():
                self.resumed += 1
            case TurnCompleted(turn_id=turn, handled=ids) | TurnFailed(turn_id=turn, handled=ids):
                self.ends[turn] += 1
                self.handled.update(ids)
                if self.open_turn.pop(room, None) != turn:
                    self.broken.append(f"{room}: turn {turn} ended while not open")

    def _reply(self, room: str, text: str) -> None:
        acknowledged = re.findall(r"ack (\S+)", text)
        self.acks.update(acknowledged)
        self.order[room] += acknowledged
        self.dones.update(re.findall(r"done (\S+)", text))
        if "could not answer" in text:
            self.broken.append(f"{room}: {text}")

    def _step(self, event) -> None:
        match event:
            case ModelCalled(run_id=run, step=step) if self.returned[run, step]:
                self.broken.append(f"run {run} paid for step {step} again")
            case ModelReturned(run_id=run, step=step):
                self.returned[run, step] += 1
            case ToolReturned(run_id=run, call_id=call):
                self.results[run, call] += 1
            case RunEnded(run_id=run):
                self.terminal[run] += 1

    def problems(self, sent: dict[str, Sequence[str]]) -> list[str]:
        """Return every promise that is broken, given what people said."""
        return [
            *self.broken,
            *(problem for room in sent for problem in self._of_room(room, sent[room])),
            *_not_once("message {} was handled", self.received, self.handled),
            *_not_once("turn {} ended", self.starts, self.ends),
            *_not_once("run {} ended", self.requested, self.terminal),
            *_not_once("run {} concluded", self.requested, self.concluded),
            *_not_once("step {} returned", self.returned, self.returned),
            *_not_once("tool call {} returned", self.results, self.results),
        ]

    def _of_room(self, room: str, tokens: Sequence[str]) -> Iterator[str]:
        delegated = [token for token in tokens if token[0] in "bw"]
        thought = {fact(token): None for token in tokens if token[0] == "b"}
        yield from _not_once("{} was acknowledged", tokens, self.acks)
        yield from _not_once("the result of {} was told", delegated, self.dones)
        yield from _not_once("{!r} is in memory", thought, self.memories)
        if self.order[room] != list(tokens):
            yield f"{room}: answered in the order {self.order[room]}"

    def verdict(self, sent: dict[str, Sequence[str]]) -> Verdict:
        """Return what it comes to."""
        return Verdict(
            problems=self.problems(sent),
            events=self.events,
            turns=len(self.starts),
            resumed=self.resumed,
            runs=len(self.requested),
            unsettled=[f"turn {turn}" for turn in self.open_turn.values()],
        )


def _not_once(what: str, wanted: Iterable[object], counted: Counter) -> Iterator[str]:
    for key in wanted:
        if counted[key] != 1:
            yield f"{what.format(key)} {counted[key]} times"


async def judge(log: EventLog, sent: dict[str, Sequence[str]]) -> Verdict:
    """Read everything and hold it against what must be true."""
    tally = Tally()
    async for recorded in log.read("evt.>", fresh=True):
        tally.take(recorded)
    return tally.verdict(sent)


async def trail(log: EventLog, problems: Sequence[str]) -> list[str]:
    """Return the events of the rooms and runs that the problems name, for whoever looks into it."""
    words = set(re.findall(r"[0-9a-f-]{36}|room-\d+", " ".join(problems)))
    words |= {f"room-{token.split('-')[1]}" for token in TOKEN.findall(" ".join(problems))}
    lines = []
    async for recorded in log.read("evt.>", fresh=True):
        place = parse(recorded.subject)
        if words & {place.conversation, place.id}:
            line = f"{recorded.seq} {recorded.envelope.at} {recorded.subject} {recorded.event}"
            lines.append(f"{line} cause={recorded.envelope.cause}")
    return lines


async def settled(log: EventLog, sent: dict[str, Sequence[str]], timeout_s: float) -> Verdict:
    """Wait until everything sent is answered and nothing is open; return the last verdict."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        verdict = await judge(log, sent)
        if not verdict.problems and not verdict.unsettled:
            return verdict
        if asyncio.get_running_loop().time() > deadline:
            return verdict
        await asyncio.sleep(1.0)
