"""Take requests for runs of one kind, own them, drive them, and hand back what came of them.

Consumes:  requests, input and cancellations on the conversations' channel streams
Emits:     the run's own stream; its conclusion on the channel stream
Never:     talks to people
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

import structlog

from schemas.base import Content, EventId, RunId, RunKind
from schemas.channel import (
    BranchRequested,
    CancelRequested,
    ChannelEvent,
    CompactionRequested,
    InputRouted,
    WorkerRequested,
)
from schemas.run import InputReceived, RunEnded, RunStarted, RunWaiting
from schemas.subjects import FORK, Subject, matching, parse
from services.errors import Permanent, Rejected, Transient
from services.runtime import forks, ids
from services.runtime.agents import Agent, Agents, UnknownAgent
from services.runtime.conversations import Conversations
from services.runtime.event_log import Delivery, Handler
from services.runtime.journal import Journal
from services.runtime.live import changes
from services.runtime.run_decider import Finish, Profile
from services.runtime.run_loop import Context, Equipment, RunLoop
from services.runtime.run_state import RunState
from services.runtime.tool import Tool
from services.runtime.writer import Writer

S = TypeVar("S")

PATTERN: Final = matching(entity="channel")
CANCELLED: Final = "Cancelled before there was a result."
# Fewer than the deliveries after which a bug is parked, so that the run ends and says so instead.
MOST_FRUITLESS: Final = 7
FRUITLESS: Final = f"it was taken up {MOST_FRUITLESS} times in a row, and no step came of it"

log = structlog.get_logger()


class Busy(Transient):
    """This process already drives the run whose request came again."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a run was asked to do."""

    subject: Subject
    """The conversation's channel stream."""
    seq: int
    id: EventId
    turn: RunId | None
    run_id: RunId
    task: Content
    parent: RunId | None
    interactive: bool
    forked_at: EventId | None
    purpose: Literal["thought", "persistence"] = "thought"
    """Branches only."""


@dataclass(frozen=True, slots=True)
class Plan(Generic[S]):
    """How one run is to be driven."""

    tools: Sequence[Tool[S, Any]]
    scope: S
    context: Callable[[], Awaitable[Context]]
    profile: Profile | None = None
    """How it behaves, where that differs from other runs of its kind."""


@dataclass(frozen=True, slots=True)
class RunParts:
    """What a run service is made of."""

    writer: Writer
    equipment: Equipment
    conversations: Conversations
    agents: Agents
    profile: Profile
    default_model: str
    concurrency: int = 64


class RunService(ABC, Generic[S]):
    """Runs of one kind; any number of replicas share the work."""

    kind: ClassVar[RunKind]
    durable: ClassVar[str]
    request_types: ClassVar[frozenset[str]]

    def __init__(self, parts: RunParts) -> None:
        self._with = parts
        self._owner = ids.owner(self.kind)
        self._driving: set[RunId] = set()

    @abstractmethod
    async def plan(self, request: Request, agent: Agent, journal: Journal) -> Plan[S]:
        """Return how to drive a run."""

    @abstractmethod
    def conclusion(self, run: RunState, ended: RunEnded) -> ChannelEvent:
        """Return what the conversation is told when a run has ended."""

    @abstractmethod
    def report(self, run: RunState, waiting: RunWaiting) -> ChannelEvent | None:
        """Return what the conversation is told when a run waits for input."""

    async def run(self) -> None:
        """Consume requests and input until asked to stop."""
        await self._with.writer.log.consume(
            self.durable,
            [PATTERN],
            self.handle,
            types=self.request_types,
            concurrency=self._with.concurrency,
            stop=self._with.equipment.stopping,
        )

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Return what handles the deliveries of each durable consumer."""
        return {self.durable: self.handle, self._control: self.handle_cancel}

    @property
    def _control(self) -> str:
        return f"{self.durable}_control"

    async def control(self) -> None:
        """Consume cancellations; apart, so that they never queue behind work."""
        await self._with.writer.log.consume(
            self._control,
            [PATTERN],
            self.handle_cancel,
            types=frozenset({"cancel_requested"}),
            stop=self._with.equipment.stopping,
        )

    # -- requests ----------------------------------------------------------------------------

    async def handle(self, delivery: Delivery) -> None:
        """Start, resume or continue the run that the delivery is about.

        Raises:
            Fenced: another process owns the run, or it has ended.
            Busy, LogUnavailable: the delivery should come again.
        """
        match delivery.recorded.event:
            case BranchRequested() | WorkerRequested() | CompactionRequested():
                await self._on_request(delivery, _request(delivery))
            case InputRouted() as routed:
                await self._on_input(delivery, routed)
            case _:
                return

    async def _on_request(self, delivery: Delivery, request: Request) -> None:
        if request.run_id in self._driving:
            raise Busy(f"{request.run_id} is being driven here")
        journal = await self._journal(request)
        state = journal.state
        if state.ended is None and not state.waiting:
            if (reason := await self._refusal(request)) is not None:
                await self._end_as_failed(request, journal, reason)
                return
            if state.started is None:
                await journal.start(
                    RunStarted(
                        run_id=request.run_id,
                        kind=self.kind,
                        owner=self._owner,
                        task=request.task,
                        parent=request.parent,
                        model=await self._model(request.subject),
                        interactive=request.interactive,
                    ),
                    holder=request.id,
                )
            elif delivery.redelivered and state.holder == request.id:
                if state.fruitless >= MOST_FRUITLESS:
                    await self._end_as_failed(request, journal, FRUITLESS)
                    return
                await journal.resume(holder=request.id)
            else:
                return  # somebody else holds it, by another delivery
            await self._drive(request, journal)
        await self._tell(request, journal)

    async def _on_input(self, delivery: Delivery, routed: InputRouted) -> None:
        request = await self._request_of(parse(delivery.recorded.subject), delivery, routed.run_id)
        if request is None:
            return
        if request.run_id in self._driving and delivery.redelivered:
            raise Busy(f"{request.run_id} is being driven here")
        trigger = delivery.recorded.envelope.id
        journal = await self._journal(request)
        received = InputReceived(run_id=request.run_id, text=routed.text, source=trigger)
        while journal.state.ended is None:
            state = journal.state
            ours = delivery.redelivered and state.holder == trigger
            if trigger in state.sources and not (ours and not state.waiting):
                break
            if ours and state.fruitless >= MOST_FRUITLESS:
                await self._end_as_failed(request, journal, FRUITLESS)
                return
            if state.waiting or ours:
                await journal.resume(holder=trigger)
                if trigger not in journal.state.sources:
                    await journal.append(received)
                await self._drive(request, journal)
                break
            if await journal.from_outside(received, cause=trigger):
                await self._with.equipment.live.publish(changes(request.run_id), b"")
                return  # its owner reads it with its next step
        await self._tell(request, journal)

    async def _drive(self, request: Request, journal: Journal) -> None:
        """Drive a run that we own to its end, or to where it waits."""
        self._driving.add(request.run_id)
        try:
            agent = await self._agent(request.subject)
            plan = await self.plan(request, agent, journal)
            loop = RunLoop(
                journal,
                plan.profile or self._with.profile,
                self._with.equipment,
                model=await self._model(request.subject),
                tools=plan.tools,
                scope=plan.scope,
                context=plan.context,
            )
            while True:
                end = await loop.drive()
                event = (
                    RunEnded(
                        run_id=request.run_id,
                        outcome=end.outcome,
                        result=end.result,
                        reason=end.reason,
                    )
                    if isinstance(end, Finish)
                    else RunWaiting(run_id=request.run_id, result=end.result)
                )
                if await journal.try_append(event):
                    return
        except (Permanent, Rejected) as error:
            # no repetition would help; somebody waits for an end
            reason, said = str(error)[:1_000], journal.state.last_text
            await journal.append(
                RunEnded(run_id=request.run_id, outcome="failed", result=said, reason=reason)
            )
        finally:
            self._driving.discard(request.run_id)

    async def _end_as_failed(self, request: Request, journal: Journal, reason: str) -> None:
        """End a run that cannot be driven, and tell it."""
        said = journal.state.last_text
        ended = RunEnded(run_id=request.run_id, outcome="failed", result=said, reason=reason)
        await journal.from_outside(ended, cause=request.id)
        await self._tell(request, journal)

    async def _refusal(self, request: Request) -> str | None:
        """Return why the run cannot be driven at all, or None."""
        try:
            await self._model(request.subject)
        except (UnknownAgent, Permanent) as error:  # Permanent: a fork's prompt is lost
            return str(error)
        return None

    async def _agent(self, subject: Subject) -> Agent:
        """Return the agent as it is in a conversation."""
        agent = await self._with.agents.get(subject.tenant, subject.agent or "")
        if subject.adapter != FORK:
            return agent
        state = await self._with.conversations.at_least(subject, 1)  # its first event says all
        return await forks.as_there(agent, state.fork, self._with.equipment.bodies)

    async def _model(self, subject: Subject) -> str:
        return (await self._agent(subject)).model or self._with.default_model

    async def _journal(self, request: Request) -> Journal:
        subject = str(request.subject.of(self.kind, request.run_id))
        journal = Journal(
            self._with.writer,
            self._with.equipment.bodies,
            subject,
            request.run_id,
            owner=self._owner,
        )
        journal.on_behalf_of(request.turn, request.id)
        try:
            await journal.load(after=request.seq)
        except Permanent as error:  # a part of it is lost, so nobody can go on with it
            await journal.find_end()
            await self._end_as_failed(request, journal, f"its journal cannot be read: {error}")
        return journal

    async def _tell(self, request: Request, journal: Journal) -> None:
        """Tell the conversation how the run stands; once, however often it is tried."""
        state = journal.state
        if state.ended is not None:
            event: ChannelEvent | None = self.conclusion(state, state.ended)
            id_, since = ids.derived("concluded", request.run_id), state.ended_seq
        elif state.waiting:
            waiting = RunWaiting(run_id=request.run_id, result=state.waiting_result)
            event = self.report(state, waiting)
            id_ = ids.derived("waits", request.run_id, str(state.waits))
            since = state.waiting_seq
        else:
            return
        if event is None:
            return
        envelope = self._with.writer.seal(event, id=id_, cause=state.last, turn=request.turn)
        await self._with.writer.append_once(str(request.subject), envelope, since=since)

    # -- cancellations -----------------------------------------------------------------------

    async def handle_cancel(self, delivery: Delivery) -> None:
        """End a run from outside; its owner notices and stops at once."""
        event = delivery.recorded.event
        if not isinstance(event, CancelRequested):
            return
        subject = parse(delivery.recorded.subject)
        request = await self._request_of(subject, delivery, event.run_id)
        if request is None:
            return
        journal = await self._journal(request)
        while journal.state.ended is None:
            state = journal.state
            ended = RunEnded(
                run_id=request.run_id,
                outcome="cancelled",
                result=state.last_text or state.status or CANCELLED,
                reason=event.reason,
            )
            await journal.from_outside(ended, cause=delivery.recorded.envelope.id)
        await self._with.equipment.live.publish(changes(request.run_id), b"")
        await self._tell(request, journal)

    async def _request_of(
        self, subject: Subject, delivery: Delivery, run_id: RunId
    ) -> Request | None:
        """Return the request of an active run of our kind, or None."""
        state = await self._with.conversations.at_least(subject, delivery.recorded.seq)
        active = state.run(run_id)
        if active is None or active.kind != self.kind:
            return None
        channel = self._with.writer.log.read(
            str(subject), after=active.seq - 1, until=active.seq, fresh=True
        )
        async for recorded in channel:
            return _request(Delivery(recorded, 1))
        raise Permanent(f"the request of {run_id} is not in the log")


def _request(delivery: Delivery) -> Request:
    recorded = delivery.recorded
    event = recorded.event
    if not isinstance(event, BranchRequested | WorkerRequested | CompactionRequested):
        raise Permanent(f"{recorded.envelope.type} is not a request for a run")
    task: Content = ""  # a compaction's is in the log
    parent, interactive, forked_at = recorded.envelope.turn, False, None
    if not isinstance(event, CompactionRequested):
        task, forked_at = event.task, event.forked_at
    purpose = event.purpose if isinstance(event, BranchRequested) else "thought"
    if isinstance(event, WorkerRequested):
        parent, interactive = event.parent, event.interactive
    return Request(
        subject=parse(recorded.subject),
        seq=recorded.seq,
        id=recorded.envelope.id,
        turn=recorded.envelope.turn,
        run_id=event.run_id,
        task=task,
        parent=parent,
        interactive=interactive,
        forked_at=forked_at,
        purpose=purpose,
    )
