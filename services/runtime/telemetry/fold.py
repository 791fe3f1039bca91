"""From events to spans: read in the order of the log, each span is told where it ends. Pure.

Consumes:  everything
Emits:     spans of turns, runs, model calls, tools, and of events that somebody acts upon
Never:     awaits, reads a clock; the same log gives the same spans, with the same ids
"""

from collections.abc import Callable, Iterator

from schemas.base import Content
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CompactionRequested,
    ConversationForked,
    InputRouted,
    MessageReceived,
    ReplySent,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.cortex import SynthesisRequested
from schemas.envelope import Envelope
from schemas.run import (
    ModelCalled,
    ModelFailed,
    ModelReturned,
    RunEnded,
    RunResumed,
    RunStarted,
    RunWaiting,
    ToolCalled,
    ToolReturned,
)
from schemas.schedule import OccurrenceFired, OccurrenceMissed, OccurrenceSkipped
from schemas.subjects import InvalidToken
from services.runtime.event_log import Recorded
from services.runtime.telemetry import names, occurrences, telling
from services.runtime.telemetry.context import (
    SENT,
    UNTRACED,
    TraceContext,
    caused_by,
    parsed,
    span_of,
)
from services.runtime.telemetry.span import Moment, Span
from services.runtime.telemetry.state import Begun, Call, Open, State, Waiting, link_to

Request = BranchRequested | WorkerRequested | CompactionRequested | SynthesisRequested
Concluded = BranchConcluded | WorkerConcluded | WorkerReported
Step = ModelCalled | ModelReturned | ModelFailed | ToolCalled | ToolReturned


def nobody(tenant: str) -> bool:
    """Let no tenant's words be told."""
    del tenant
    return False


class Spans:
    """The fold; `state` is all that it remembers."""

    def __init__(
        self, state: State | None = None, *, words_of: Callable[[str], bool] = nobody
    ) -> None:
        """Go on with a state; `words_of` says of a tenant whether spans tell what was said."""
        self.state = state or State()
        self._words_of = words_of

    def take(self, recorded: Recorded) -> list[Span]:
        """Fold one event; return the spans that end with it."""
        self.state.seq = recorded.seq
        if recorded.event is None:
            return []
        try:
            return list(self._spans(recorded))
        except InvalidToken:  # not of our making: no tenant's trace could show it
            return []

    def _spans(self, recorded: Recorded) -> Iterator[Span]:
        envelope, event = recorded.envelope, recorded.event
        here = parsed(envelope.traceparent) or UNTRACED
        parent = self._parent(recorded, here)
        match event:
            case ModelCalled() | ModelReturned() | ModelFailed() | ToolCalled() | ToolReturned():
                yield from self._step(recorded, event)
            case TurnStarted() | TurnResumed() | TurnCompleted() | TurnFailed():
                yield from self._turn(recorded, event, here)
            case RunStarted() | RunResumed() | RunWaiting() | RunEnded():
                yield from self._run(recorded, event, here)
            case OccurrenceSkipped() | OccurrenceMissed():
                yield occurrences.not_fired(recorded, event)
                return
            case _:
                self._note(recorded)
        is_root = here.span_id == span_of(envelope.id)
        if here.trace_id and (is_root or envelope.type in SENT):
            yield telling.sent(recorded, here, None if is_root else parent, self._words(recorded))

    def _words(self, recorded: Recorded) -> bool:
        return self._words_of(recorded.subject.split(".")[1])

    def _parent(self, recorded: Recorded, here: TraceContext) -> str:
        """Return the span that an event came about in: of a conclusion, the run itself."""
        event = recorded.event
        if isinstance(event, BranchConcluded | WorkerConcluded | WorkerReported):
            run = self.state.runs.get(event.run_id)
            if run is not None and run.context.trace_id == here.trace_id:
                return run.span_id
        return here.span_id

    # -- what calls for something ------------------------------------------------------------

    def _note(self, recorded: Recorded) -> None:
        match recorded.event:
            case MessageReceived(text=text):
                self._wait(recorded, "message", text)
            case OccurrenceFired():
                self._wait(recorded, "job")
            case RetryRequested():
                self._wait(recorded, "retry")
            case ConversationForked():
                self._wait(recorded, "fork")
            case BranchConcluded() | WorkerConcluded() | WorkerReported() as concluded:
                self._concluded(recorded, concluded)
            case InputRouted(text=text):
                self._wait(recorded, self._trigger(recorded), text)
            case (
                BranchRequested()
                | WorkerRequested()
                | CompactionRequested()
                | SynthesisRequested() as request
            ):
                self._requested(recorded, request)
            case ReplySent(turn_id=turn_id, text=text):
                turn = self.state.runs.get(turn_id)
                if turn is not None:
                    turn.replied_at = turn.replied_at or recorded.envelope.at
                    turn.said = text if self._words(recorded) else ""
            case _:
                pass

    def _wait(self, recorded: Recorded, trigger: str, text: Content = "") -> None:
        envelope = recorded.envelope
        self.state.wait(
            envelope.id,
            Waiting(
                trigger=trigger,
                at=envelope.at,
                link=link_to(caused_by(envelope)),
                text=text if self._words(recorded) else "",
            ),
        )

    def _concluded(self, recorded: Recorded, event: Concluded) -> None:
        run = self.state.runs.get(event.run_id)
        self._wait(recorded, run.trigger if run is not None else "result")
        if not isinstance(event, WorkerReported):
            self.state.runs.pop(event.run_id, None)

    def _requested(self, recorded: Recorded, event: Request) -> None:
        envelope = recorded.envelope
        run = Open(
            run_id=event.run_id,
            kind="branch",
            subject=recorded.subject,
            trigger=self._trigger(recorded),
            context=caused_by(envelope),
            since=envelope.at,
            turn=envelope.turn,
            parent=envelope.turn,
        )
        match event:
            case BranchRequested(purpose=purpose):
                run.trigger = purpose if purpose == "persistence" else run.trigger
            case WorkerRequested(parent=parent):
                run.kind, run.parent = "worker", parent
                run.trigger = self._trigger(recorded, parent)
            case CompactionRequested():
                run.kind = run.trigger = "compaction"
            case SynthesisRequested():
                run.kind, run.trigger = "synthesis", "knowledge"
        if isinstance(event, BranchRequested | WorkerRequested) and self._words(recorded):
            run.task = event.task
        self.state.open(run)

    def _trigger(self, recorded: Recorded, parent: str | None = None) -> str:
        """Return what the run was triggered by that an event is an effect of."""
        for run_id in (parent, recorded.envelope.turn):
            run = self.state.runs.get(run_id) if run_id else None
            if run is not None:
                return run.trigger
        return "other"

    # -- turns -------------------------------------------------------------------------------

    def _turn(
        self,
        recorded: Recorded,
        event: TurnStarted | TurnResumed | TurnCompleted | TurnFailed,
        here: TraceContext,
    ) -> Iterator[Span]:
        envelope = recorded.envelope
        if isinstance(event, TurnStarted):
            asked = self._asked(envelope, here)
            self.state.open(
                Open(
                    run_id=event.turn_id,
                    kind="turn",
                    subject=recorded.subject,
                    trigger=asked.trigger if asked else "other",
                    context=here,
                    since=envelope.at,
                    turn=event.turn_id,
                    scheduled=event.occurrence is not None,
                    asked_at=asked.at if asked else envelope.at,
                    task=asked.text if asked else "",
                )
            )
            return
        run = self.state.runs.get(event.turn_id)
        if run is None:
            return
        if isinstance(event, TurnResumed):
            _taken_over(run, event.attempt, envelope.at)
            return
        del self.state.runs[event.turn_id]
        answered = [self.state.waiting.pop(span_of(id_), None) for id_ in event.handled]
        links = [it.link for it in answered if it is not None and it.link is not None]
        yield from self._interrupted(run, envelope.at)
        yield telling.workflow(run, event, envelope.at, links)

    def _asked(self, envelope: Envelope, here: TraceContext) -> Waiting | None:
        """Return what a turn goes back to: the oldest of what it answers, else what claimed it."""
        for span_id in (here.span_id, span_of(envelope.cause or "")):
            if span_id in self.state.waiting:
                return self.state.waiting[span_id]
        return None

    # -- runs --------------------------------------------------------------------------------

    def _run(
        self,
        recorded: Recorded,
        event: RunStarted | RunResumed | RunWaiting | RunEnded,
        here: TraceContext,
    ) -> Iterator[Span]:
        at = recorded.envelope.at
        run = self.state.runs.get(event.run_id)
        if run is None or run.kind == "turn":  # a turn's are on its channel stream
            return
        match event:
            case RunStarted(model=model):
                run.begin(here, at)
                run.model = model
            case RunResumed(attempt=attempt):
                if run.waiting:
                    given = self.state.waiting.pop(span_of(recorded.envelope.cause or ""), None)
                    run.begin(here, at)
                    if given is not None:
                        run.trigger, run.task = given.trigger, given.text
                else:
                    _taken_over(run, attempt, at)
            case RunWaiting(result=result):
                yield telling.agent(run, "waiting", at, self._said(recorded, result))
                run.waiting = True
            case RunEnded(outcome=outcome, result=result, reason=reason):
                yield from self._interrupted(run, at)
                if not run.waiting:
                    said = self._said(recorded, result)
                    yield telling.agent(run, outcome, at, said, reason=reason)
                if run.kind not in {"branch", "worker"}:  # of those, the conversation is told
                    del self.state.runs[event.run_id]

    def _said(self, recorded: Recorded, text: Content) -> Content:
        return text if self._words(recorded) else ""

    # -- steps -------------------------------------------------------------------------------

    def _step(self, recorded: Recorded, event: Step) -> Iterator[Span]:
        run = self.state.runs.get(event.run_id)
        at = recorded.envelope.at
        if run is None:
            return
        match event:
            case ModelCalled(step=step, model=model):
                yield from self._interrupted(run, at)
                run.model = model
                run.call = Call(id=recorded.envelope.id, step=step, model=model, at=at)
            case ModelReturned() | ModelFailed():
                call, run.call = run.call, None
                if call is not None:
                    _count(run, event)
                    yield telling.chat(run, call, event, at, words=self._words(recorded))
                if isinstance(event, ModelReturned) and self._words(recorded):
                    run.arguments = {it.id: it.arguments for it in event.tool_calls}
            case ToolCalled(call_id=call_id):
                arguments = run.arguments.pop(call_id, "")
                run.tools[call_id] = Begun(at=at, arguments=arguments)
            case ToolReturned(call_id=call_id):
                begun = run.tools.pop(call_id, None)
                if begun is None:  # refused before it ran
                    begun = Begun(at=at, arguments=run.arguments.pop(call_id, ""))
                yield telling.tool(run, begun, event, at, words=self._words(recorded))

    def _interrupted(self, run: Open, at: int) -> Iterator[Span]:
        """Tell of a model call whose process died, or which was stopped."""
        call, run.call = run.call, None
        if call is not None:
            yield telling.chat(run, call, None, at, words=False)


def _taken_over(run: Open, attempt: int, at: int) -> None:
    run.attempts = max(run.attempts + 1, attempt) if run.kind == "turn" else run.attempts + 1
    taken = Moment(name="taken_over", at=at, attributes={names.ATTEMPTS: run.attempts})
    run.moments.append(taken)


def _count(run: Open, event: ModelReturned | ModelFailed) -> None:
    run.calls += 1
    if isinstance(event, ModelReturned):
        usage = event.usage
        run.input, run.output = run.input + usage.input, run.output + usage.output
        run.cached += usage.cached
        if usage.cost_usd is not None:
            run.cost_usd = (run.cost_usd or 0.0) + usage.cost_usd
