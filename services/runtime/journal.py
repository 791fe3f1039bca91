"""The stream of one run in the hands of its owner: fold, append, notice that it was taken over."""

import asyncio
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from schemas.base import EventId, RunId
from schemas.envelope import Envelope
from schemas.run import InputReceived, ModelReturned, RunEvent, RunResumed, RunStarted, ToolCall
from services.errors import Conflict, Fenced, LogFull, LogUnavailable
from services.runtime.behind import HistoryGone, behind
from services.runtime.bodies import BodyStore
from services.runtime.event_log import Append, EventLog, Recorded
from services.runtime.run_state import RunState, evolve
from services.runtime.writer import Writer

PATIENCE_S: Final = 600.0  # an owner holds on to a paid answer this long while the log is away
RETRY_S: Final = 1.0

log = structlog.get_logger()


class Journal:
    """One run's stream, read up to `state`.

    Every append expects the state that it was decided on. When somebody else appended, we read
    what came: a takeover or an end means that we are fenced, anything else is folded in and the
    append is tried again.
    """

    def __init__(
        self, writer: Writer, bodies: BodyStore, subject: str, run_id: RunId, *, owner: str
    ) -> None:
        self.subject = subject
        self.state = RunState(run_id)
        self.owner = owner
        self._writer = writer
        self._bodies = bodies
        self._attempt = 0
        """Which of the run's attempts is ours."""
        self._turn: RunId | None = None
        self._cause: EventId | None = None

    @property
    def log(self) -> EventLog:
        """The log that it is on."""
        return self._writer.log

    async def load(self, *, after: int = 0, shared: bool = False) -> RunState:
        """Read the run's stream.

        Args:
            after: A sequence before the run's first event.
            shared: Whether other runs, before this one, have used the subject.
        """
        await self.refresh(after=after)
        if shared and self.state.seq == 0:
            newest = await self.log.last(self.subject, fresh=True)
            if newest is not None:
                self.state = evolve(self.state, newest)
        return self.state

    async def find_end(self) -> None:
        """Look where the subject ends, for a new run on a subject that other runs have used."""
        newest = await self.log.last(self.subject)  # where it is stale, the first append notices
        if newest is not None:
            self.state = evolve(self.state, newest)

    async def refresh(self, *, after: int | None = None) -> None:
        """Fold what came since.

        Raises:
            Fenced: the run was erased.
        """
        try:
            if after is None:
                new = behind(self.log, self.subject, self.state.seq, fresh=True)
            else:
                new = self.log.read(self.subject, after=after, fresh=True)
            async for recorded in new:
                await self._fold(recorded)
        except HistoryGone as gone:
            raise Fenced(f"{self.state.run_id} was erased: {gone}") from gone

    def on_behalf_of(self, turn: RunId | None, cause: EventId | None) -> None:
        """Say which turn the coming events belong to, and what led to them."""
        self._turn, self._cause = turn, cause

    def adopt(self, since: int) -> None:
        """Be the first owner of a turn, which was claimed on the channel stream.

        Args:
            since: Sequence of that claim; whatever is behind it on the run's stream is not ours.

        Raises:
            Fenced: another process has taken it over since.
        """
        if self.state.seq > since:
            raise Fenced(f"{self.state.run_id} was taken over before its first step")
        self.state = msgspec.structs.replace(self.state, owner=self.owner, attempt=1)
        self._attempt = 1

    async def start(self, started: RunStarted, *, holder: EventId) -> None:
        """Become the first owner.

        Raises:
            Fenced: another process was first.
        """
        await self._claim(started, 1, holder)

    async def resume(self, *, holder: EventId, attempt: int | None = None) -> None:
        """Become the owner of a run whose owner is gone, or which waited.

        Args:
            holder: The event whose delivery we hold.
            attempt: Which attempt this is, where another stream has settled that; else the next.

        Raises:
            Fenced: another process was first.
        """
        number = attempt or self.state.attempt + 1
        event = RunResumed(run_id=self.state.run_id, owner=self.owner, attempt=number)
        await self._claim(event, number, holder)

    async def _claim(self, event: RunEvent, attempt: int, holder: EventId) -> None:
        envelope = self._writer.seal(event, cause=holder, turn=self._turn)
        while True:
            self._check_not_behind(attempt)
            try:
                seq = await self.log.append_if(self.subject, self.state.seq, envelope)
            except Conflict:
                await self.refresh()
            else:
                await self._fold(Recorded(seq, self.subject, envelope, event, b""))
                self._attempt = self.state.attempt
                self._cause = envelope.id
                return

    def _check_not_behind(self, attempt: int) -> None:
        """Make sure that no claim of this number or a later one is before ours.

        Raises:
            Fenced: there is one, or the run has ended.
        """
        if self.state.attempt >= attempt or self.state.ended is not None:
            raise Fenced(f"{self.state.run_id} is owned by {self.state.owner}")

    async def append(
        self,
        event: RunEvent,
        *,
        id: EventId | None = None,  # noqa: A002 - the envelope's word
        beside: Append | None = None,
    ) -> Envelope:
        """Append a step, waiting out an absent log.

        Args:
            event: The step.
            id: Its id; None for a new one.
            beside: What is stored on another stream if the step is, and only then.

        Raises:
            Fenced: the run has another owner or an end; nothing was stored.
        """
        envelope = self._writer.seal(event, id=id, cause=self._cause, turn=self._turn)
        deadline = self._writer.clock.monotonic() + PATIENCE_S
        while True:
            try:
                seq = await self._store(envelope, beside)
            except Conflict:
                await self.absorb()
                if self._has(event):
                    return envelope
            except (LogUnavailable, LogFull) as error:
                if self._writer.clock.monotonic() > deadline:
                    raise
                log.warning("journal.waiting", run=self.state.run_id, reason=str(error))
                await self._writer.clock.sleep(RETRY_S)
            else:
                await self._fold(Recorded(seq, self.subject, envelope, event, b""))
                return envelope

    async def _store(self, envelope: Envelope, beside: Append | None) -> int:
        if beside is None:
            return await self.log.append_if(self.subject, self.state.seq, envelope)
        step = Append(self.subject, envelope, self.state.seq)
        return await self.log.append_batch([beside, step])

    async def try_append(self, event: RunEvent) -> bool:
        """Append an end or a wait, unless something came that it was not decided on.

        Returns:
            False when something came; it is folded, and what comes next is to be decided anew.

        Raises:
            Fenced: the run has another owner or an end.
        """
        envelope = self._writer.seal(event, cause=self._cause, turn=self._turn)
        seq_before = self.state.seq
        while True:
            try:
                seq = await self.log.append_if(self.subject, self.state.seq, envelope)
            except Conflict:
                await self.absorb()
                if self.state.seq != seq_before:
                    return False
            else:
                await self._fold(Recorded(seq, self.subject, envelope, event, b""))
                return True

    async def from_outside(self, event: RunEvent, *, cause: EventId) -> bool:
        """Append to a run that we do not own: an end, or input.

        Returns:
            False when the run has ended meanwhile, or waits and so has no owner to notice.
        """
        waiting = self.state.waiting
        envelope = self._writer.seal(event, cause=cause, turn=self._turn)
        while self.state.ended is None and self.state.waiting == waiting:
            try:
                seq = await self.log.append_if(self.subject, self.state.seq, envelope)
            except Conflict:
                await self.refresh()
                if self._has(event):
                    return True
            else:
                await self._fold(Recorded(seq, self.subject, envelope, event, b""))
                return True
        return False

    def _has(self, event: RunEvent) -> bool:
        """Tell whether this is input that another delivery of it has brought already."""
        return isinstance(event, InputReceived) and event.source in self.state.sources

    async def absorb(self) -> None:
        """Fold what others appended.

        Raises:
            Fenced: the run has another owner or an end.
        """
        seq = self.state.seq
        await self.refresh()
        if self.state.ended is not None:
            raise Fenced(f"{self.state.run_id} ended: {self.state.ended.outcome}")
        if self.state.attempt != self._attempt:
            raise Fenced(f"{self.state.run_id} is owned by {self.state.owner}")
        if self.state.seq == seq:
            await asyncio.sleep(0.01)  # a write is in flight: the conflict is not yet to be read

    async def _fold(self, recorded: Recorded) -> None:
        """Fold an event, tool calls that are kept by reference included."""
        event = recorded.event
        if isinstance(event, ModelReturned) and event.tool_calls_body is not None:
            body = await self._bodies.get(event.tool_calls_body)
            calls = msgspec.json.decode(body, type=tuple[ToolCall, ...])
            recorded = replace(recorded, event=msgspec.structs.replace(event, tool_calls=calls))
        self.state = evolve(self.state, recorded)
