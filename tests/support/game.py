"""A game of replicas that stand still at every point of their work until they are told to go on.

Meanwhile others act, deliveries run out, and processes die. Hypothesis makes the moves.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from structlog.testing import capture_logs

from schemas.subjects import Subject
from services.runtime import ids
from services.runtime.config import PersistenceSettings
from services.runtime.consumer import settle
from services.runtime.conversation import Conversation, evolve
from services.runtime.event_log import Delivery, EventLog, Recorded
from tests.support.fake_log import FakeLog
from tests.support.replicas import Due, Killed, Replica, Shared

REPLICAS = 3
INDEX = st.integers(0, 99)
NUMBER = st.integers(0, REPLICAS - 1)
STEPS = st.integers(0, 16)
PATIENCE = 500  # looks at a replica that does not come to its next point: it waits for a lock
_HANDLING: ContextVar["Handling | None"] = ContextVar("handling", default=None)


@dataclass
class Handling:
    """One delivery in the hands of one replica."""

    due: Due
    replica: Replica
    gate: asyncio.Future | None = None
    task: asyncio.Task | None = None

    @property
    def stands_still(self) -> bool:
        return self.gate is not None and not self.gate.done()


class Game(RuleBasedStateMachine):
    """One conversation, some replicas, and the moves that any game has."""

    pause_s = 0.0
    """How long to wait for replicas to come to their next point."""
    looks_often = True
    """Whether streams are looked at after every move, and not only at the end."""
    durables: Mapping[str, frozenset[str]] = {}
    """Which services take part, and the types that they are for."""
    persistence = PersistenceSettings()

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.quiet = capture_logs()
        self.quiet.__enter__()
        self.subject = Subject("acme", "atlas", "portal", f"c-{ids.new()}")
        log = self.run(self.open_log())
        self.shared = Shared(self.answer, log=log, persistence=self.persistence)
        self.shared.hook = self.stand_still
        self.replicas = [Replica(self.shared) for _ in range(REPLICAS)]
        self.handlings: list[Handling] = []
        self.owed: list[Due] = []
        self.acknowledged: set[tuple[str, int]] = set()
        self.seen = 0
        self.run(self.shared.define())

    def answer(self, request) -> Any:
        """Answer for the model."""
        raise NotImplementedError

    async def open_log(self) -> EventLog:
        return FakeLog()

    async def close_log(self) -> None:
        pass

    def run(self, work):
        return self.loop.run_until_complete(work)

    # -- moves of any game -------------------------------------------------------------------

    @precondition(lambda self: self.owed)
    @rule(which=INDEX, replica=NUMBER, steps=STEPS)
    def a_replica_gets_a_delivery(self, which, replica, steps):
        due = self.owed.pop(which % len(self.owed))
        self.run(self.start(due, self.replicas[replica], steps))

    @precondition(lambda self: self.standing)
    @rule(which=INDEX, steps=STEPS)
    def a_replica_goes_on(self, which, steps):
        self.run(self.go_on(self.standing[which % len(self.standing)], steps))

    @precondition(lambda self: self.standing)
    @rule(which=INDEX, steps=STEPS)
    def another_replica_goes_on(self, which, steps):
        self.a_replica_goes_on(which, steps)

    @precondition(lambda self: self.handlings)
    @rule(which=INDEX, other=st.integers(1, REPLICAS - 1), steps=STEPS)
    def a_delivery_runs_out_while_its_replica_stands_still(self, which, other, steps):
        handling = self.handlings[which % len(self.handlings)]
        due = replace(handling.due, attempt=handling.due.attempt + 1)
        number = self.replicas.index(handling.replica)
        self.run(self.start(due, self.replicas[(number + other) % REPLICAS], steps))

    @rule(replica=NUMBER)
    def a_replica_dies(self, replica):
        self.run(self.kill(replica))

    @precondition(lambda self: isinstance(self.shared.log, FakeLog))
    @rule()
    def the_log_forgets_the_ids_of_old_events(self):
        self.shared.log._ids.clear()

    # -- how they are made -------------------------------------------------------------------

    @property
    def standing(self) -> list[Handling]:
        return [handling for handling in self.handlings if handling.stands_still]

    def append(self, event) -> None:
        """Let somebody from outside append to the conversation."""
        self.run(self.shared.log.append(str(self.subject), self.shared.outside.seal(event)))
        self.run(self.look())

    def events(self, subject: Subject | None = None) -> list[Recorded]:
        return self.run(self.read(subject))

    async def read(self, subject: Subject | None = None) -> list[Recorded]:
        wanted = str(subject or self.subject)
        return [recorded async for recorded in self.shared.log.read(wanted, fresh=True)]

    def state(self) -> Conversation:
        return folded(self.events())

    async def newest(self) -> Conversation:
        return folded(await self.read())

    async def look(self) -> None:
        """Owe the services what is new."""
        async for recorded in self.shared.log.read(str(self.subject), after=self.seen, fresh=True):
            self.seen = recorded.seq
            for durable, types in self.durables.items():
                if recorded.envelope.type in types:
                    self.owed.append(Due(durable, recorded))

    def owe_again(self, due: Due) -> None:
        if due.key not in self.acknowledged:
            self.owed.append(replace(due, attempt=due.attempt + 1))

    async def start(self, due: Due, replica: Replica, steps: int = 0) -> None:
        if due.key in self.acknowledged:
            return
        handling = Handling(due, replica)
        handling.task = asyncio.create_task(self.handle(handling))
        self.handlings.append(handling)
        await self.until_all_stand_still()
        await self.go_on(handling, steps)

    async def handle(self, handling: Handling) -> None:
        _HANDLING.set(handling)
        due, replica = handling.due, handling.replica
        _, handler = replica.handlers()[due.durable]
        delivery = Delivery(due.recorded, due.attempt)
        verdict = await settle(replica.log, due.durable, delivery, handler)
        if verdict.action == "ack":
            self.acknowledged.add(due.key)
            self.owed = [other for other in self.owed if other.key != due.key]
        else:
            self.owe_again(due)

    async def stand_still(self, replica, point) -> None:
        handling = _HANDLING.get()
        if handling is None:
            return
        handling.gate = asyncio.get_running_loop().create_future()
        await handling.gate

    async def go_on(self, handling: Handling, steps: int = 1) -> None:
        for _ in range(steps):
            if not handling.stands_still:
                return
            handling.gate.set_result(None)
            await self.until_all_stand_still()

    async def until_all_stand_still(self) -> None:
        """Let everybody come to a point, to an end, or to where another one must go on first."""
        for _ in range(PATIENCE):
            if all(h.task.done() or h.stands_still for h in self.handlings):
                break
            await asyncio.sleep(self.pause_s)
        for handling in [h for h in self.handlings if h.task.done()]:
            self.handlings.remove(handling)
            with suppress(Killed, asyncio.CancelledError):
                handling.task.result()
        await self.look()

    async def kill(self, number: int) -> None:
        dead = self.replicas[number]
        dead.kill()
        self.replicas[number] = Replica(self.shared)
        for handling in [h for h in self.handlings if h.replica is dead]:
            handling.task.cancel()
            await asyncio.gather(handling.task, return_exceptions=True)
            self.handlings.remove(handling)
            self.owe_again(handling.due)

    async def come_to_rest(self) -> None:
        """Let everybody go on, one after the other, until nothing is left to be done."""
        for _ in range(600):
            await self.look()
            if handling := next((h for h in self.handlings if h.stands_still), None):
                await self.go_on(handling)
            elif self.owed:
                await self.start(self.owed.pop(0), self.replicas[0])
            elif not await self.sweep_up():
                return
        raise AssertionError("it does not come to rest")

    async def sweep_up(self) -> bool:
        """Hand on what is open and held by nobody; tell whether there was anything."""
        return False

    def over(self) -> None:
        """End the game."""
        for number in range(REPLICAS):
            self.run(self.kill(number))
        self.run(self.close_log())
        self.quiet.__exit__(None, None, None)
        self.loop.close()


def folded(events: list[Recorded]) -> Conversation:
    """Return what the channel stream says."""
    state = Conversation()
    for recorded in events:
        state = evolve(state, recorded)
    return state
