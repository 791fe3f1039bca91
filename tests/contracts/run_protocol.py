"""Runs as a game against hypothesis: an interactive worker, its input, its stops, its deaths.

Whatever happens, every run ends once, every input is received once, every result is told once, and
no command runs twice.
"""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from schemas.base import EventId
from schemas.channel import (
    CancelRequested,
    InputRouted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.run import InputReceived, ModelReturned, RunEnded, RunWaiting, ToolReturned
from services.errors import ModelUnavailable
from services.runtime.event_log import Recorded
from tests.support.builders import cancel, routed, worker
from tests.support.game import NUMBER, Game, folded
from tests.support.replicas import Due
from tests.support.scripted_model import calls, does, says

MOODS = {
    "work": lambda n: does(calls("shell", command=f"make {n}")),
    "report": lambda n: does(calls("set_status", status=f"at {n}")),
    "succeed": lambda n: outcome("succeeded", n),
    "fail": lambda n: outcome("failed", n),
    "talk": lambda n: says(f"words {n}"),
    "away": lambda n: ModelUnavailable("busy"),
}


def outcome(how, number):
    return does(calls("set_status", kind="outcome", outcome=how, status=f"result {number}"))


class RunProtocol(Game):
    """Plays with one worker on the fake log."""

    durables = {  # noqa: RUF012 - not changed
        "worker": frozenset({"worker_requested", "input_routed"}),
        "worker_control": frozenset({"cancel_requested"}),
    }

    def __init__(self) -> None:
        super().__init__()
        self.mood = "work"
        self.asked = 0
        self.inputs = 0
        self.interactive = True

    def answer(self, request):
        self.asked += 1
        return MOODS[self.mood](self.asked)

    @property
    def worker(self):
        return self.subject.of("worker", "w1")

    # -- what happens ------------------------------------------------------------------------

    @precondition(lambda self: not self.state().runs and not self.events())
    @rule(interactive=st.booleans())
    def a_worker_is_asked_for(self, interactive):
        self.interactive = interactive
        self.append(worker("w1", interactive=interactive))

    @precondition(lambda self: self.state().runs and self.inputs < 4)
    @rule()
    def it_is_told_more(self):
        self.inputs += 1
        self.append(routed("w1", text=f"input {self.inputs}"))

    @precondition(lambda self: self.state().runs and self.inputs > 1)
    @rule()
    def somebody_stops_it(self):
        self.append(cancel("w1"))

    @rule(mood=st.sampled_from(sorted(MOODS)))
    def the_model_changes_its_mood(self, mood):
        self.mood = mood

    @precondition(lambda self: not self.handlings and not self.owed and self.state().runs)
    @rule(replica=NUMBER)
    def a_run_that_nobody_holds_is_swept_up(self, replica):
        self.run(self.sweep(replica))

    # -- what must hold ----------------------------------------------------------------------

    @invariant()
    def runs_are_as_they_should_be(self):
        if self.looks_often:
            check(self.events(), self.events(self.worker), self.shared.sandbox.commands)

    def teardown(self):
        try:
            self.mood = "succeed"
            self.run(self.come_to_rest())
            self.check_rest()
        finally:
            self.over()

    def check_rest(self):
        """Make sure that nothing was left undone."""
        channel, steps = self.events(), self.events(self.worker)
        check(channel, steps, self.shared.sandbox.commands)
        told = [r.event for r in channel if isinstance(r.event, WorkerReported | WorkerConcluded)]
        ended = any(isinstance(r.event, RunEnded) for r in steps)
        waits = sum(isinstance(r.event, RunWaiting) for r in steps)
        reported = sum(isinstance(event, WorkerReported) for event in told)
        assert ended == any(isinstance(event, WorkerConcluded) for event in told)
        asked = any(isinstance(r.event, WorkerRequested) for r in channel)
        assert ended or waits or not asked, "it is neither waiting nor over"
        if not ended:
            assert reported == waits, f"{waits} results, {reported} told"
            routed_ = [r.envelope.id for r in channel if isinstance(r.event, InputRouted)]
            received = [r.event.source for r in steps if isinstance(r.event, InputReceived)]
            assert Counter(routed_) == Counter(received)
            assert all(f"input {n + 1}" in self.shown() for n in range(self.inputs))
        stops = any(isinstance(r.event, CancelRequested) for r in channel)
        assert ended or not stops, "it was stopped and goes on"

    def shown(self) -> str:
        """Return everything that the model was shown last."""
        return "".join(m.content for m in self.shared.model.requests[-1].messages)

    async def sweep_up(self) -> bool:
        state = await self.newest()
        steps = await self.read(self.worker)
        over = any(isinstance(r.event, RunEnded) for r in steps)
        told = not state.runs
        waiting = bool(steps) and isinstance(steps[-1].event, RunWaiting)
        if told or (waiting and state.runs[0].waiting):
            return False
        await self.sweep(0)
        return not over or bool((await self.newest()).runs)

    async def sweep(self, replica: int) -> None:
        """Hand the run on as `services.runtime.sweep` does: with the event of its holder."""
        wanted: EventId | None = None
        for recorded in await self.read(self.worker):
            if recorded.envelope.type in {"run_started", "run_resumed"}:
                wanted = recorded.envelope.cause
        events = await self.read()
        active = folded(events).run("w1")
        holder = next(
            r for r in events if (r.envelope.id == wanted if wanted else r.seq == active.seq)
        )
        due = Due("worker", holder, 2)
        self.acknowledged.discard(due.key)
        await self.start(due, self.replicas[replica])


def check(channel: list[Recorded], steps: list[Recorded], commands: list[str]) -> None:
    """Hold a worker's streams against what must be true of them, without any fold."""
    kinds = [recorded.event for recorded in steps]
    ends = [n for n, event in enumerate(kinds) if isinstance(event, RunEnded)]
    assert len(ends) <= 1, "it ended twice"
    assert not ends or ends[0] == len(kinds) - 1, "something came behind its end"
    sources = Counter(event.source for event in kinds if isinstance(event, InputReceived))
    assert {*sources.values()} <= {1}, "input was received twice"
    answers = Counter(event.step for event in kinds if isinstance(event, ModelReturned))
    assert {*answers.values()} <= {1}, "an answer was recorded twice"
    results = Counter(event.call_id for event in kinds if isinstance(event, ToolReturned))
    assert {*results.values()} <= {1}, "a tool returned twice"
    assert {*Counter(commands).values()} <= {1}, "a command ran twice"
    told = Counter(
        recorded.envelope.id
        for recorded in channel
        if isinstance(recorded.event, WorkerReported | WorkerConcluded)
    )
    assert {*told.values()} <= {1}, "a result was told twice"
    concluded = sum(isinstance(recorded.event, WorkerConcluded) for recorded in channel)
    assert concluded <= 1, "it concluded twice"
