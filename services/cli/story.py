"""What led to what in a conversation: its events as a tree of messages, turns, runs and steps.

    message, or fork
      turn                    by its cause: a message, or the run whose result it tells
        model                 a call and its answer are one node
        tool                  likewise; what it did hangs below it
          reply, file, …
          branch, worker      with their own models and tools, and the turns that tell their results

Pure: events in log order in, nodes out. Nothing is lost where an event is missing: what belongs to
nothing that is known becomes a root.
"""

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from schemas.base import Event, EventId
from schemas.catalogue import AnyEvent
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    ChannelEvent,
    CheckpointCut,
    CompactionFailed,
    CompactionRequested,
    ConversationForked,
    FileSent,
    InputRouted,
    MessageReceived,
    ReactionAdded,
    ReplySent,
    ResultDelivered,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.run import (
    CallRefused,
    ContextTrimmed,
    InputReceived,
    ModelCalled,
    ModelFailed,
    ModelReturned,
    Noted,
    RunEnded,
    RunEvent,
    RunResumed,
    RunStarted,
    RunWaiting,
    StatusSet,
    ToolCalled,
    ToolReturned,
)
from schemas.schedule import (
    DeliveryRefused,
    OccurrenceDelivered,
    OccurrenceEnded,
    OccurrenceFired,
)
from services.cli.gist import gist, shown
from services.runtime.budgets.wording import told
from services.runtime.event_log import Recorded

Kind: TypeAlias = Literal[
    "message",
    "job",
    "fork",
    "turn",
    "branch",
    "worker",
    "synthesis",
    "compaction",
    "checkpoint",
    "model",
    "tool",
    "reply",
    "file",
    "reaction",
    "input",
    "cancel",
    "retry",
    "note",
    "other",
]


EFFECTS: Final[dict[type[Event], Kind]] = {
    ReplySent: "reply",
    ResultDelivered: "reply",
    FileSent: "file",
    ReactionAdded: "reaction",
    InputRouted: "input",
    CancelRequested: "cancel",
}
"""What a turn did to its conversation, as nodes without children."""


class Node(msgspec.Struct, kw_only=True):
    """Something that happened, and what it led to."""

    kind: Kind
    id: str
    """Of the turn or run; of the event for everything else."""
    seq: int
    at: int
    """UTC microseconds."""
    text: str = ""
    state: str = ""
    """How it ended, or `running`."""
    took_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None where no price is known."""
    children: list["Node"] = msgspec.field(default_factory=list)
    """In log order."""

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all below it, parents first."""
        rest = [self]
        while rest:
            node = rest.pop()
            yield node
            rest += reversed(node.children)


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What a part of a story came to."""

    turns: int
    model_calls: int
    tokens: int
    cost_usd: float


def total(nodes: list[Node]) -> Total:
    """Return the sums over nodes and all below them."""
    every = [each for node in nodes for each in node.walk()]
    calls = [node for node in every if node.kind == "model"]
    return Total(
        turns=sum(node.kind == "turn" for node in every),
        model_calls=len(calls),
        tokens=sum(node.input_tokens + node.output_tokens for node in calls),
        cost_usd=sum(node.cost_usd or 0 for node in calls),
    )


class Story:
    """A tree that grows by one event at a time."""

    def __init__(self) -> None:
        self.roots: list[Node] = []
        self.runs: dict[str, Node] = {}
        """Turns, branches and workers by id."""
        self._led_to: dict[EventId, Node] = {}
        self._model: dict[str, Node] = {}
        self._tools: dict[tuple[str, str], Node] = {}
        self._tool: dict[str, Node] = {}

    def add(self, recorded: Recorded) -> None:
        """Take in the next event."""
        event = recorded.event
        if isinstance(event, ChannelEvent):
            self._channel(event, recorded)
        elif isinstance(event, RunEvent):
            self._run(event, recorded)
        elif isinstance(event, OccurrenceFired):
            node = self._hang(None, _node("job", recorded, _other(recorded)))
            self._led_to[recorded.envelope.id] = node
        elif isinstance(event, OccurrenceEnded | OccurrenceDelivered | DeliveryRefused):
            node = _node("note", recorded, _other(recorded))
            self._hang(self._led_to.get(event.occurrence), node)
        else:
            self._hang(self._cause(recorded), _node("other", recorded, _other(recorded)))

    # -- the conversation --------------------------------------------------------------------

    def _channel(  # noqa: C901 - a case for every event
        self, event: ChannelEvent, recorded: Recorded
    ) -> None:
        match event:
            case MessageReceived():
                node = self._hang(None, _node("message", recorded, gist(event, 400)))
                self._led_to[recorded.envelope.id] = node
            case TurnStarted(turn_id=run_id):
                node = _node("turn", recorded, "", id_=run_id, state="running")
                self.runs[run_id] = self._hang(self._cause(recorded), node)
            case TurnResumed(turn_id=run_id, attempt=attempt):
                self._note(recorded, run_id, f"another process took over: attempt {attempt}")
            case TurnCompleted(turn_id=run_id, outcome=outcome, reason=reason):
                self._end(recorded, run_id, outcome, reason)
            case TurnFailed(turn_id=run_id, reason=reason):
                self._end(recorded, run_id, "failed", reason)
            case RetryRequested(turn_id=run_id):
                node = self._hang(self.runs.get(run_id), _node("retry", recorded, "asked for"))
                self._led_to[recorded.envelope.id] = node
            case BranchRequested():
                self._begin("branch", event, recorded, recorded.envelope.turn)
            case WorkerRequested():
                self._begin("worker", event, recorded, event.parent or recorded.envelope.turn)
            case BranchConcluded() | WorkerConcluded() | WorkerReported():
                self._result(event, recorded)
            case ResultDelivered():
                self._hang(self._cause(recorded), _node("reply", recorded, gist(event, 400)))
            case ReplySent() | FileSent() | ReactionAdded() | InputRouted() | CancelRequested():
                self._effect(event, recorded)
            case CompactionRequested() | CheckpointCut() | CompactionFailed():
                self._compaction(event, recorded)
            case ConversationForked(adapter=adapter, conversation=parent, at=at):
                text = f"of {adapter}/{parent} at {at}"
                node = self._hang(None, _node("fork", recorded, text))
                self._led_to[recorded.envelope.id] = node

    def _begin(
        self,
        kind: Literal["branch", "worker"],
        event: BranchRequested | WorkerRequested,
        recorded: Recorded,
        parent: str | None,
    ) -> None:
        node = _node(kind, recorded, shown(event.task), id_=event.run_id, state="requested")
        self.runs[event.run_id] = self._hang(self._at_work(parent, recorded), node)

    def _result(
        self, event: BranchConcluded | WorkerConcluded | WorkerReported, recorded: Recorded
    ) -> None:
        """Let the turn that tells a result hang below the run that gave it."""
        node = self.runs.get(event.run_id)
        if node is None:
            node = self._hang(self._cause(recorded), _node("other", recorded, _other(recorded)))
        elif not isinstance(event, WorkerReported):
            node.state = event.outcome
        self._led_to[recorded.envelope.id] = node

    def _effect(
        self,
        event: ReplySent | FileSent | ReactionAdded | InputRouted | CancelRequested,
        recorded: Recorded,
    ) -> None:
        turn = recorded.envelope.turn
        if isinstance(event, ReplySent | FileSent | ReactionAdded):
            turn = event.turn_id
        node = _node(EFFECTS[type(event)], recorded, gist(event, 400))
        self._hang(self._at_work(turn, recorded), node)

    def _compaction(
        self, event: CompactionRequested | CheckpointCut | CompactionFailed, recorded: Recorded
    ) -> None:
        """Let a compaction hang below the turn that made it due, and a checkpoint below that."""
        run = self.runs.get(event.run_id) if event.run_id else None
        match event:
            case CompactionRequested(run_id=run_id, kind=kind):
                due = self.runs.get(recorded.envelope.turn or "") or self._cause(recorded)
                node = _node("compaction", recorded, kind, id_=run_id, state="requested")
                self.runs[run_id] = self._hang(due, node)
            case CheckpointCut(title=title, kind=kind):
                due = run or self.runs.get(recorded.envelope.turn or "") or self._cause(recorded)
                node = self._hang(due, _node("checkpoint", recorded, f"{title} ({kind})"))
                self._led_to[recorded.envelope.id] = node
            case CompactionFailed(outcome=outcome) if run is not None:
                run.state = outcome
            case CompactionFailed():
                self._hang(None, _node("other", recorded, _other(recorded)))

    # -- its runs ----------------------------------------------------------------------------

    def _run(self, event: RunEvent, recorded: Recorded) -> None:
        run_id = event.run_id
        run = self.runs.get(run_id)
        match event:
            case RunStarted():
                self._started(event, recorded)
            case RunResumed(attempt=attempt):
                self._note(recorded, run_id, f"taken up: attempt {attempt}")
            case StatusSet(status=status):
                at_work = self._at_work(run_id, recorded)
                self._hang(at_work, _node("note", recorded, f"status: {status}"))
            case InputReceived(text=text):
                self._hang(run, _node("input", recorded, shown(text)))
            case Noted(text=text):
                self._note(recorded, run_id, text)
            case ContextTrimmed(dropped=dropped):
                self._note(recorded, run_id, f"{dropped} entries are no longer shown to the model")
            case CallRefused(shortage=shortage):
                self._note(recorded, run_id, told(shortage))
            case RunWaiting():
                self._state(run_id, "waiting")
            case RunEnded(outcome=outcome, reason=reason):
                self._end(recorded, run_id, outcome, reason)
            case ModelCalled() | ModelReturned() | ModelFailed() | ToolCalled() | ToolReturned():
                self._step(event, recorded, run)

    def _started(self, event: RunStarted, recorded: Recorded) -> None:
        run = self.runs.get(event.run_id)
        if run is None:
            node = _node(event.kind, recorded, shown(event.task), id_=event.run_id)
            run = self.runs[event.run_id] = self._hang(self._cause(recorded), node)
        run.at, run.state = recorded.envelope.at, "running"

    def _state(self, run_id: str, state: str) -> None:
        run = self.runs.get(run_id)
        if run is not None:
            run.state = state

    def _step(
        self,
        event: ModelCalled | ModelReturned | ModelFailed | ToolCalled | ToolReturned,
        recorded: Recorded,
        run: Node | None,
    ) -> None:
        run_id = event.run_id
        match event:
            case ModelCalled(model=model):
                node = _node("model", recorded, model, state="running")
                self._model[run_id] = self._hang(run, node)
            case ModelReturned():
                node = self._answered(run, recorded, run_id)
                node.text, node.state, node.took_ms = event.model, "", float(event.latency_ms)
                node.input_tokens, node.output_tokens = event.usage.input, event.usage.output
                node.cost_usd = event.usage.cost_usd
            case ModelFailed(reason=reason, detail=detail):
                node = self._answered(run, recorded, run_id)
                node.state = f"{reason}: {detail}" if detail else reason
            case ToolCalled(call_id=call_id, name=name):
                node = self._hang(run, _node("tool", recorded, name, state="running"))
                self._tools[run_id, call_id] = self._tool[run_id] = node
            case ToolReturned(call_id=call_id, name=name, status=status):
                known = self._tools.pop((run_id, call_id), None)
                node = (
                    known if known is not None else self._hang(run, _node("tool", recorded, name))
                )
                node.state, node.took_ms = status, float(event.duration_ms)
                if self._tool.get(run_id) is node:
                    del self._tool[run_id]

    def _answered(self, run: Node | None, recorded: Recorded, run_id: str) -> Node:
        """Return the model call that has ended; a new node where its beginning is missing."""
        called = self._model.pop(run_id, None)
        return called if called is not None else self._hang(run, _node("model", recorded))

    # -- where things hang -------------------------------------------------------------------

    def _hang(self, parent: Node | None, node: Node) -> Node:
        (self.roots if parent is None else parent.children).append(node)
        return node

    def _cause(self, recorded: Recorded) -> Node | None:
        cause = recorded.envelope.cause
        return self._led_to.get(cause) if cause else None

    def _at_work(self, run_id: str | None, recorded: Recorded) -> Node | None:
        """Return the tool that is at work in a run, else the run, else what the cause led to."""
        if run_id is not None:
            found = self._tool.get(run_id, self.runs.get(run_id))
            if found is not None:
                return found
        return self._cause(recorded)

    def _note(self, recorded: Recorded, run_id: str, text: str) -> None:
        self._hang(self.runs.get(run_id), _node("note", recorded, text))

    def _end(self, recorded: Recorded, run_id: str, state: str, reason: str) -> None:
        run = self.runs.get(run_id)
        if run is None:
            return
        run.state = f"{state} ({reason})" if reason else state
        run.took_ms = (recorded.envelope.at - run.at) / 1_000
        self._tool.pop(run_id, None)


def _node(
    kind: Kind, recorded: Recorded, text: str = "", *, id_: str | None = None, state: str = ""
) -> Node:
    envelope = recorded.envelope
    return Node(
        kind=kind,
        id=id_ or envelope.id,
        seq=recorded.seq,
        at=envelope.at,
        text=text,
        state=state,
    )


def _other(recorded: Recorded) -> str:
    event: AnyEvent | None = recorded.event
    return f"{recorded.envelope.type} {gist(event, 400)}"
