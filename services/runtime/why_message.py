"""Why a message got no reply, or a late one: which service, which step, how long. Pure.

Takes the events of one conversation, its runs included, and follows what the message led to: the
turn that took it, what that delegated, the turns that told the results.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from schemas.base import EventId, RunId
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    ConversationForked,
    FileSent,
    MessageReceived,
    ReactionAdded,
    ReplySent,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.dead import DeliveryParked, DeliveryRetried
from schemas.run import (
    CallRefused,
    ModelCalled,
    ModelFailed,
    ModelReturned,
    RunEnded,
    RunResumed,
    RunStarted,
    ToolCalled,
    ToolReturned,
)
from schemas.schedule import OccurrenceFired
from schemas.subjects import parse
from services.runtime.budgets.wording import told
from services.runtime.event_log import Recorded
from services.runtime.jobs.why import span

Standing: TypeAlias = Literal[
    "answered", "refused", "silent", "failed", "parked", "working", "waiting"
]
ROOTS: Final = (MessageReceived, OccurrenceFired, ConversationForked)
"""What can be asked about; of a fork, what it shares and still had to be answered."""
SERVICES: Final = {"turn": "channel", "branch": "branch", "worker": "worker"}


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that was done for the message, by which service, and how long it took."""

    at: int
    """When it ended, or began where it goes on; UTC microseconds."""
    service: str
    what: str
    took_ms: int | None = None
    open: bool = False
    """It has not ended."""
    event: EventId


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message, and where it stands."""

    ref: str
    agent: str
    conversation: str
    at: int
    standing: Standing
    why: str
    """A sentence for people."""
    reply_ms: int | None
    """From the message to the first reply."""
    slowest: Step | None
    steps: list[Step]


def explain(events: Sequence[Recorded], ref: str, *, now: int) -> Explanation | None:
    """Return what became of a message, or of what a turn was about; None where it is not known.

    Args:
        events: Everything of one conversation, in log order.
        ref: Id of the event, of the platform's message, or of a turn; or the beginning of one.
        now: UTC microseconds.
    """
    return _Chain(events, now).explain(ref)


class _Chain:
    """What one trigger led to."""

    def __init__(self, events: Sequence[Recorded], now: int) -> None:
        self._events = events
        self._now = now
        self._handled: dict[EventId, RunId] = {}
        self._started: dict[RunId, Recorded] = {}
        self._open: RunId | None = None
        forks = {it.envelope.id for it in events if isinstance(it.event, ConversationForked)}
        for recorded in events:
            match recorded.event:
                case TurnStarted(turn_id=turn_id):
                    self._started[turn_id] = recorded
                    self._open = turn_id
                    if recorded.envelope.cause in forks:
                        self._handled[recorded.envelope.cause] = turn_id
                case (
                    TurnCompleted(turn_id=turn_id, handled=handled)
                    | TurnFailed(turn_id=turn_id, handled=handled)
                ):
                    self._handled |= dict.fromkeys(handled, turn_id)
                    self._open = None
                case _:
                    pass
        self._turns: list[RunId] = []
        self._runs: set[RunId] = set()
        self._triggers: list[Recorded] = []

    def explain(self, ref: str) -> Explanation | None:
        root = self._find(ref)
        if root is None:
            return None
        self._follow(root)
        steps = [step for it in self._triggers for step in self._taking(it)]
        steps += self._working()
        steps.sort(key=lambda step: step.at)
        replied = next((it for it in self._events if self._is_reply(it)), None)
        standing, why = self._standing(root, steps, replied)
        place = parse(root.subject)
        return Explanation(
            ref=root.envelope.id,
            agent=place.agent or "",
            conversation=f"{place.adapter}/{place.conversation}",
            at=root.envelope.at,
            standing=standing,
            why=why,
            reply_ms=_ms(replied.envelope.at - root.envelope.at) if replied else None,
            slowest=max(
                (step for step in steps if step.took_ms is not None),
                key=lambda step: step.took_ms or 0,
                default=None,
            ),
            steps=steps,
        )

    def _find(self, ref: str) -> Recorded | None:
        for recorded in self._events:
            event = recorded.event
            if not isinstance(event, ROOTS):
                continue
            named = isinstance(event, MessageReceived) and event.message_id == ref
            if named or recorded.envelope.id.startswith(ref):
                return recorded
        turns = [turn_id for turn_id in self._started if turn_id.startswith(ref)]
        cause = self._started[turns[0]].envelope.cause if turns else None
        return next((it for it in self._events if it.envelope.id == cause), None)

    def _follow(self, root: Recorded) -> None:
        """Collect the turns and runs that a trigger led to."""
        waiting = [root]
        while waiting:
            trigger = waiting.pop(0)
            self._triggers.append(trigger)
            turn = self._turn_of(trigger)
            if turn is None or turn in self._turns:
                continue
            self._turns.append(turn)
            for recorded in self._events:
                event = recorded.event
                if isinstance(event, BranchRequested | WorkerRequested):
                    asked_by = getattr(event, "parent", None)
                    if recorded.envelope.turn == turn or asked_by in self._runs:
                        self._runs.add(event.run_id)
                elif (
                    isinstance(event, BranchConcluded | WorkerConcluded | WorkerReported)
                    and event.run_id in self._runs
                    and not getattr(event, "delegated_to", None)
                    and recorded not in self._triggers
                    and recorded not in waiting
                ):
                    waiting.append(recorded)

    def _turn_of(self, trigger: Recorded) -> RunId | None:
        return self._handled.get(trigger.envelope.id) or self._open

    def _is_reply(self, recorded: Recorded) -> bool:
        event = recorded.event
        return (
            isinstance(event, ReplySent | FileSent | ReactionAdded) and event.turn_id in self._turns
        )

    # -- steps -------------------------------------------------------------------------------

    def _taking(self, trigger: Recorded) -> list[Step]:
        """Return how long a trigger waited for its turn, and who gave it up."""
        steps = []
        for recorded in self._events:
            event = recorded.event
            if isinstance(event, DeliveryParked) and event.seq == trigger.seq:
                what = f"{event.durable} gave it up after {event.attempts} attempts: {event.reason}"
                steps.append(self._step(recorded, event.durable, what))
        turn = self._turn_of(trigger)
        if turn is None:
            took = _ms(self._now - trigger.envelope.at)
            what = "no channel service has taken it"
            steps.append(self._step(trigger, "channel", what, took, is_open=True))
            return steps
        started = self._started.get(turn)
        if started is not None:
            took = max(0, _ms(started.envelope.at - trigger.envelope.at))
            what = f"took {_name(trigger)} into turn {turn[:8]}"
            steps.append(self._step(started, "channel", what, took))
        return steps

    def _working(self) -> list[Step]:  # noqa: C901, PLR0912 - a case for every event
        """Return the steps of the turns and runs."""
        mine = {*self._turns, *self._runs}
        begun: dict[tuple[str, str], Recorded] = {}
        steps = []
        for recorded in self._events:
            event = recorded.event
            run_id = getattr(event, "run_id", None) or getattr(event, "turn_id", None)
            if event is None or run_id not in mine:
                continue
            service = SERVICES.get(parse(recorded.subject).entity, "channel")
            match event:
                case BranchRequested() | WorkerRequested():
                    begun[run_id, "request"] = recorded
                case RunStarted():
                    steps += self._ends(begun, (run_id, "request"), recorded, service, "began")
                case ModelCalled(step=step):
                    begun[run_id, f"model {step}"] = recorded
                case ModelReturned(step=step, model=model):
                    what = f"{model} answered"
                    steps += self._ends(begun, (run_id, f"model {step}"), recorded, service, what)
                case ModelFailed(step=step, detail=detail):
                    what = f"the model failed: {detail}"
                    steps += self._ends(begun, (run_id, f"model {step}"), recorded, service, what)
                case CallRefused(shortage=shortage):
                    steps.append(self._step(recorded, service, told(shortage)))
                case ToolCalled(call_id=call_id):
                    begun[run_id, call_id] = recorded
                case ToolReturned(call_id=call_id, name=name, status=status):
                    what = f"ran {name} ({status})"
                    steps += self._ends(begun, (run_id, call_id), recorded, service, what)
                case RunResumed(attempt=attempt):
                    what = f"another process took it over: attempt {attempt}"
                    steps.append(self._step(recorded, service, what))
                case TurnFailed(reason=reason):
                    steps.append(self._step(recorded, service, f"gave the turn up: {reason}"))
                case RunEnded(outcome=outcome):
                    for key in [key for key in begun if key[0] == run_id]:
                        del begun[key]
                    steps.append(self._step(recorded, service, f"ended: {outcome}"))
                case _:
                    pass
        return steps + [self._goes_on(key, recorded) for key, recorded in begun.items()]

    def _ends(
        self,
        begun: dict[tuple[str, str], Recorded],
        key: tuple[str, str],
        recorded: Recorded,
        service: str,
        what: str,
    ) -> list[Step]:
        first = begun.pop(key, None)
        took = _ms(recorded.envelope.at - first.envelope.at) if first else None
        return [self._step(recorded, service, what, took)]

    def _goes_on(self, key: tuple[str, str], recorded: Recorded) -> Step:
        took = _ms(self._now - recorded.envelope.at)
        service = SERVICES.get(parse(recorded.subject).entity, "channel")
        match recorded.event:
            case ModelCalled(model=model):
                what = f"waits for {model}"
            case ToolCalled(name=name):
                what = f"runs {name}"
            case BranchRequested():
                service, what = "branch", f"no branch service has taken {key[0][:8]}"
            case _:
                service, what = "worker", f"no worker service has taken {key[0][:8]}"
        return self._step(recorded, service, what, took, is_open=True)

    def _step(
        self,
        recorded: Recorded,
        service: str,
        what: str,
        took_ms: int | None = None,
        *,
        is_open: bool = False,
    ) -> Step:
        envelope = recorded.envelope
        return Step(
            at=envelope.at,
            service=service,
            what=what,
            took_ms=took_ms,
            open=is_open,
            event=envelope.id,
        )

    # -- where it stands ---------------------------------------------------------------------

    def _standing(
        self, root: Recorded, steps: Sequence[Step], replied: Recorded | None
    ) -> tuple[Standing, str]:
        goes_on = next((step for step in reversed(steps) if step.open), None)
        failed = self._failure()
        if failed is not None:
            return "failed", f"its turn was given up: {failed}"
        refused = self._refusal()
        if refused is not None:
            return "refused", f"no model was asked about it: {refused}"
        if replied is not None:
            took = replied.envelope.at - root.envelope.at
            return "answered", f"it was answered after {span(took)}"
        if self._parked(root):
            return "parked", "its delivery was given up; see `penstock dead list`"
        if goes_on is not None:
            wait = span((goes_on.took_ms or 0) * 1_000)
            standing: Standing = "working" if self._turns else "waiting"
            return standing, f"{goes_on.service}: {goes_on.what}, since {wait}"
        if self._open in self._turns:
            return "working", "its turn is going on"
        ends = [
            it.event
            for it in self._events
            if isinstance(it.event, TurnCompleted) and it.event.turn_id in self._turns
        ]
        last = ends[-1] if ends else None
        reason = f": {last.reason}" if last is not None and last.reason else ""
        chose = (
            "the agent chose to say nothing"
            if last and last.outcome == "skipped"
            else ("its turn ended with nothing to say")
        )
        return "silent", f"{chose}{reason}"

    def _failure(self) -> str | None:
        """Return why the last of its turns was given up, or None."""
        if not self._turns:
            return None
        return next(
            (
                it.event.reason
                for it in self._events
                if isinstance(it.event, TurnFailed) and it.event.turn_id == self._turns[-1]
            ),
            None,
        )

    def _refusal(self) -> str | None:
        """Return the budget that had no room for the last of its turns, or None."""
        if not self._turns:
            return None
        return next(
            (
                told(it.event.shortage)
                for it in self._events
                if isinstance(it.event, CallRefused) and it.event.run_id == self._turns[-1]
            ),
            None,
        )

    def _parked(self, root: Recorded) -> bool:
        last = None
        for recorded in self._events:
            event = recorded.event
            if isinstance(event, DeliveryParked | DeliveryRetried) and event.seq == root.seq:
                last = event
        return isinstance(last, DeliveryParked)


def _name(trigger: Recorded) -> str:
    return "it" if isinstance(trigger.event, ROOTS) else "the result"


def _ms(microseconds: int) -> int:
    return round(microseconds / 1_000)
