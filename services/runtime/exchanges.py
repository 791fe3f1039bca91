"""What was asked in a conversation, and what came of each: replies, tools, models, cost. Pure.

An exchange is what people said at once, with the turn that took it, the branches and workers of
that turn, and the turns that told their results.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, field

from schemas.base import Content, EventId, RunId
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
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
from schemas.run import ModelCalled, ModelReturned, ToolCalled, ToolReturned
from services.runtime.event_log import Recorded

WAITING: Final = "waiting"


class Used(Struct, kw_only=True):
    """A tool that was called."""

    name: str
    arguments: str = ""
    """JSON, as the model wrote it; empty where it is not in the event."""
    status: str = "running"


class Exchange(Struct, kw_only=True):
    """Something that was asked, and what came of it."""

    asked: list[tuple[str, Content]] = field(default_factory=list)
    """Who said it, and what; empty where a result is told that nobody asked for here."""
    replies: list[Content] = field(default_factory=list)
    tools: list[Used] = field(default_factory=list)
    """In the order in which they were called, those of branches and workers included."""
    models: list[str] = field(default_factory=list)
    """That answered, each once."""
    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None where no price is known."""
    outcome: str = WAITING
    """Of its last turn: `replied`, `skipped`, `silent`, `failed`, `running`, `waiting`."""
    began_at: int = 0
    """When its first turn did; UTC microseconds."""
    ended_at: int = 0

    @property
    def took_ms(self) -> int | None:
        """Return how long it took; None while it goes on."""
        return round((self.ended_at - self.began_at) / 1_000) if self.ended_at else None


def shared(one: Sequence[Recorded], other: Sequence[Recorded]) -> int:
    """Return how many events two conversations have in common, from the first."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine.envelope.id != theirs.envelope.id:
            break
        count += 1
    return count


def exchanges(
    talk: Sequence[Recorded], after: int, steps: Sequence[Recorded] = ()
) -> list[Exchange]:
    """Return what was asked and came of it behind the first events of a conversation.

    Args:
        talk: Its channel events, shared ones first.
        after: How many of them to leave out, but for what was answered later.
        steps: Events of its runs, in order.
    """
    told = _Told(talk)
    for recorded in talk[after:]:
        told.take(recorded)
    for recorded in steps:
        told.step(recorded)
    told.leave_waiting(talk[after:])
    return told.exchanges


class _Told:
    """Exchanges that grow by one event at a time."""

    def __init__(self, talk: Sequence[Recorded]) -> None:
        self.exchanges: list[Exchange] = []
        self._said: dict[EventId, MessageReceived] = {}
        self._results: dict[EventId, RunId] = {}
        self._handled: dict[RunId, tuple[EventId, ...]] = {}
        self._taken: set[EventId] = set()
        self._of: dict[RunId, Exchange] = {}
        """The exchange of each turn, branch and worker."""
        self._used: dict[tuple[RunId, str], Used] = {}
        seen: set[str] = set()
        for recorded in talk:
            match recorded.event:
                case MessageReceived(message_id=id_) if id_ in seen:
                    self._taken.add(recorded.envelope.id)  # the platform said it twice
                case MessageReceived() as message:
                    seen.add(message.message_id)
                    self._said[recorded.envelope.id] = message
                case (
                    BranchConcluded(run_id=run_id)
                    | WorkerConcluded(run_id=run_id)
                    | WorkerReported(run_id=run_id)
                ):
                    self._results[recorded.envelope.id] = run_id
                case (
                    TurnCompleted(turn_id=turn_id, handled=handled)
                    | TurnFailed(turn_id=turn_id, handled=handled)
                ):
                    self._handled[turn_id] = handled
                    self._taken.update(handled)
                case _:
                    pass

    def take(self, recorded: Recorded) -> None:
        """Take in an event of the conversation."""
        event, at = recorded.event, recorded.envelope.at
        match event:
            case TurnStarted(turn_id=turn_id):
                self._begin(turn_id, recorded)
            case ReplySent() | FileSent() | ReactionAdded():
                if (mine := self._of.get(event.turn_id)) is not None:
                    mine.replies.append(_text(event))
            case BranchRequested(purpose="thought") | WorkerRequested():
                parent = getattr(event, "parent", None) or recorded.envelope.turn
                if parent is not None and (mine := self._of.get(parent)) is not None:
                    self._of[event.run_id] = mine
            case TurnCompleted(turn_id=turn_id, outcome=outcome):
                self._end(turn_id, outcome, at)
            case TurnFailed(turn_id=turn_id):
                self._end(turn_id, "failed", at)
            case _:
                pass

    def _begin(self, turn_id: RunId, recorded: Recorded) -> None:
        cause = recorded.envelope.cause
        triggers = self._handled.get(turn_id) or ((cause,) if cause else ())
        said = [self._said[id_] for id_ in triggers if id_ in self._said]
        told = [self._of.get(self._results[id_]) for id_ in triggers if id_ in self._results]
        mine = next((it for it in told if it is not None), None)
        if said or mine is None:
            mine = Exchange(began_at=recorded.envelope.at)
            self.exchanges.append(mine)
        mine.asked += [(message.author.name, message.text) for message in said]
        mine.outcome, mine.ended_at = "running", 0
        self._taken.update(triggers)
        self._of[turn_id] = mine

    def _end(self, turn_id: RunId, outcome: str, at: int) -> None:
        mine = self._of.get(turn_id)
        if mine is not None:
            mine.outcome, mine.ended_at = outcome, at

    def leave_waiting(self, rest: Sequence[Recorded]) -> None:
        """Add what was said and nobody has taken."""
        waiting = [
            (it.event.author.name, it.event.text)
            for it in rest
            if isinstance(it.event, MessageReceived) and it.envelope.id not in self._taken
        ]
        if waiting:
            self.exchanges.append(Exchange(asked=waiting))

    def step(self, recorded: Recorded) -> None:
        """Take in a step of a run."""
        event = recorded.event
        mine = self._of.get(getattr(event, "run_id", None) or RunId(""))
        if mine is None:
            return
        match event:
            case ModelCalled():
                mine.model_calls += 1
            case ModelReturned():
                _add_usage(mine, event)
                for call in event.tool_calls:
                    used = Used(name=call.name, arguments=call.arguments)
                    mine.tools.append(used)
                    self._used[event.run_id, call.id] = used
            case ToolCalled(call_id=call_id, name=name):
                self._using(mine, event.run_id, call_id, name)
            case ToolReturned(call_id=call_id, name=name, status=status):
                self._using(mine, event.run_id, call_id, name).status = status
            case _:
                pass

    def _using(self, mine: Exchange, run_id: RunId, call_id: str, name: str) -> Used:
        known = self._used.get((run_id, call_id))
        if known is None:
            known = self._used[run_id, call_id] = Used(name=name)
            mine.tools.append(known)
        return known


def _add_usage(mine: Exchange, event: ModelReturned) -> None:
    if event.model not in mine.models:
        mine.models.append(event.model)
    mine.input_tokens += event.usage.input
    mine.output_tokens += event.usage.output
    if event.usage.cost_usd is not None:
        mine.cost_usd = (mine.cost_usd or 0.0) + event.usage.cost_usd


def _text(event: ReplySent | FileSent | ReactionAdded) -> Content:
    match event:
        case ReplySent(text=text):
            return text
        case FileSent(name=name, caption=caption):
            return f"[file {name}] {caption}".rstrip()
        case ReactionAdded(emoji=emoji):
            return f"[reacted with {emoji}]"
