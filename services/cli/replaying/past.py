"""The log as it was, for code that believes it is live: it may append what was appended then."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Final, NoReturn

from schemas.base import EventId, RunId
from schemas.catalogue import AnyEvent, open_envelope
from schemas.channel import TurnResumed
from schemas.envelope import Envelope
from schemas.run import InputReceived, RunEnded, RunResumed, RunStarted
from services.cli.replaying.difference import Divergence, differences, explained, told
from services.cli.replaying.recording import Overlay, Recording
from services.errors import Conflict, Fenced
from services.runtime.event_log import Append, Handler, Recorded

MOST_TRIES: Final = 100_000  # appends in a row that are refused: as many events came in between


class Diverged(Fenced):
    """Today's code does something else; nothing may catch this but the replay."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.now)
        self.divergence = divergence


class AttemptOver(Fenced):
    """The recording holds no more of this attempt: its process died here, or it still goes on."""


class Stuck(Fenced):
    """Today's code tries the same again and again, which the log of then would not have let it."""


class Past:
    """One run's view of a recording: the log of the past, and the clock that goes with it.

    Reads show what was there. An append has to be the next one of the recording: it is compared,
    and becomes visible. What others appended in between comes as the conflict that it was then.
    """

    def __init__(
        self, recording: Recording, bodies: Overlay, *, decisions_only: bool = False
    ) -> None:
        self.recording = recording
        self.bodies = bodies
        self.steps = 0
        """Decisions of the run that were found the same."""
        self._decisions_only = decisions_only
        self._run_id = RunId("")
        self._subject = ""
        self._is_turn = False
        self._only: EventId | None = None
        self.ended = False
        """Whether the run has come to the end that it came to then."""
        self._now = 0
        self._until = 0
        self._shown: dict[str, int] = {}
        self._ticks = 0
        self._tries = 0
        """Appends since one was taken."""

    def follow(
        self, run_id: RunId, subject: str, *, is_turn: bool = False, only: EventId | None = None
    ) -> None:
        """Follow another run, or a decision that is `only` one event."""
        self._run_id, self._subject = run_id, subject
        self._is_turn, self._only, self.ended = is_turn, only, False

    def rewind(self, seq: int, at: int) -> None:
        """Show everything up to a sequence, as at a moment."""
        self._until, self._now = seq, at
        self._shown.clear()

    def show(self, subject: str, seq: int) -> None:
        """Show a subject up to a sequence, whatever is shown of the others."""
        self._shown[subject] = seq

    def reveal(self, recorded: Recorded) -> None:
        """Show a subject up to one of its events."""
        self._shown[recorded.subject] = max(self.end(recorded.subject), recorded.seq)

    def end(self, subject: str) -> int:
        """Return up to where a subject is shown."""
        return self._shown.get(subject, self._until)

    def coming(self, subject: str) -> Iterator[Recorded]:
        """Yield what is recorded on a subject and not shown yet."""
        seq = self.end(subject)
        while (recorded := self.recording.next(subject, seq)) is not None:
            yield recorded
            seq = recorded.seq

    # -- the clock ---------------------------------------------------------------------------

    def now(self) -> int:
        """Return when the run's next step was recorded: that is when it was decided."""
        following = self.recording.next(self._subject, self.end(self._subject))
        if following is not None and self._is_step(following):
            return max(following.envelope.at, self._now)
        return self._now

    def monotonic(self) -> float:
        """Return seconds that pass fast: whatever was read a moment ago is old."""
        self._ticks += 3_600
        return self._ticks

    async def sleep(self, seconds: float) -> None:
        """Wait for nothing."""
        del seconds
        await asyncio.sleep(0)

    # -- reading -----------------------------------------------------------------------------

    async def read(
        self, pattern: str, *, after: int = 0, until: int | None = None, fresh: bool = False
    ) -> AsyncIterator[Recorded]:
        """Yield what was there."""
        del fresh
        end = self.end(pattern)
        for recorded in self.recording.select(pattern, after, min(until or end, end)):
            yield recorded

    async def last(self, pattern: str, *, fresh: bool = False) -> Recorded | None:
        """Return the newest of what was there."""
        del fresh
        return self.recording.newest(pattern, self.end(pattern))

    def tail(self, pattern: str, *, after: int = 0) -> AsyncIterator[Recorded]:
        """Refuse: nothing comes any more."""
        raise NotImplementedError(pattern, after)

    async def consume(
        self,
        durable: str,
        patterns: Collection[str],
        handle: Handler,
        *,
        types: Collection[str] | None = None,
        concurrency: int = 64,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Refuse: nothing is delivered."""
        raise NotImplementedError(durable, patterns, handle, types, concurrency, stop)

    # -- appending ---------------------------------------------------------------------------

    async def append(self, subject: str, envelope: Envelope) -> int:
        """Take what the recording holds under this id, and refuse anything else."""
        recorded = self.recording.by_id.get(envelope.id)
        if recorded is None:
            self.diverge(None, open_envelope(envelope), (f"on {subject}",))
        return await self._same(recorded, envelope)

    async def append_batch(self, appends: Sequence[Append]) -> int:
        """Take each, as `append` does."""
        return [await self.append(each.subject, each.envelope) for each in appends][-1]

    async def append_if(self, subject: str, expected: int, envelope: Envelope) -> int:
        """Take what the recording has next, and refuse anything else."""
        self._tries += 1
        if self._tries > MOST_TRIES:
            raise Stuck(f"{envelope.type} on {subject} was refused {MOST_TRIES:,} times")
        following = self.recording.next(subject, expected)
        if following is not None and following.seq <= self.end(subject):
            raise Conflict(subject, expected=expected, actual=self.end(subject))
        now = open_envelope(envelope)
        if subject == self._subject:
            return await self._step(subject, expected, following, envelope, now)
        return await self._effect(subject, expected, following, envelope, now)

    async def _step(
        self,
        subject: str,
        expected: int,
        following: Recorded | None,
        envelope: Envelope,
        now: AnyEvent | None,
    ) -> int:
        """Take a step of the run itself."""
        if following is None or not self._is_step(following):
            raise AttemptOver("the recording ends here")
        then = following.event
        if _is_of_others(then) and not _is_same_step(then, now):
            self.reveal(following)
            raise Conflict(subject, expected=expected, actual=following.seq)
        return await self._same(following, envelope)

    async def _effect(
        self,
        subject: str,
        expected: int,
        following: Recorded | None,
        envelope: Envelope,
        now: AnyEvent | None,
    ) -> int:
        """Take an effect, whose id is derived from what it is an effect of."""
        if following is None:
            raise AttemptOver("the recording ends here")
        if following.envelope.id == envelope.id:
            return await self._same(following, envelope)
        recorded = self.recording.by_id.get(envelope.id)
        if self.is_ours(following) and not isinstance(following.event, TurnResumed):
            self.diverge(following, now)
        if recorded is None and not any(
            self.is_ours(later) for later in self.recording.behind(subject, expected)
        ):
            raise AttemptOver("the recording ends before this")
        self.reveal(following)
        raise Conflict(subject, expected=expected, actual=following.seq)

    def _is_step(self, recorded: Recorded) -> bool:
        """Tell whether an event of the subject that is followed is one of the run's."""
        if self._only is not None:
            return recorded.envelope.id == self._only
        return getattr(recorded.event, "run_id", "") == self._run_id

    def is_ours(self, recorded: Recorded) -> bool:
        """Tell whether an event of the conversation is what this turn did."""
        return recorded.envelope.turn == self._run_id and recorded.envelope.actor == "channel"

    async def _same(self, recorded: Recorded, envelope: Envelope) -> int:
        then, now = recorded.event, open_envelope(envelope)
        if then is None or now is None:
            self.diverge(recorded, now)
        fields = differences(then, now, decisions_only=self._decisions_only)
        if fields:
            missing = list(self.bodies.missing)
            detail = await explained(then, fields, self.bodies)
            self.bodies.missing[:] = missing  # what no explanation finds, no step has missed
            self.diverge(recorded, now, detail)
        self.steps += 1
        self.ended = self.ended or isinstance(then, RunEnded)
        self._tries = 0
        self.reveal(recorded)
        if not self._is_turn:  # a turn takes in its conversation event by event, a run does not
            self._until = max(self._until, recorded.seq)
        self._now = max(self._now, recorded.envelope.at)
        return recorded.seq

    def diverge(
        self, then: Recorded | None, now: AnyEvent | None, detail: tuple[str, ...] = ()
    ) -> NoReturn:
        """Say where the ways part.

        Raises:
            Diverged: always.
        """
        raise Diverged(
            Divergence(
                run_id=self._run_id,
                step=self.steps + 1,
                seq=then.seq if then else 0,
                then=told(then.event) if then else "nothing",
                now=told(now),
                detail=detail,
            )
        )

    def failed(self, error: Exception) -> Divergence:
        """Return the difference that today's code fails where it went on then."""
        then = next(self.coming(self._subject), None)
        return Divergence(
            run_id=self._run_id,
            step=self.steps + 1,
            seq=then.seq if then else 0,
            then=told(then.event) if then else "nothing",
            now=f"an error: {type(error).__name__}: {error}",
        )

    def left_over(self, subject: str, until: int) -> Recorded | None:
        """Return the first thing that the run did then, up to a sequence, and not now."""
        for recorded in self.recording.select(subject, self.end(subject), until):
            if subject != self._subject:
                if self.is_ours(recorded) and not isinstance(recorded.event, TurnResumed):
                    return recorded
            elif self._is_step(recorded) and not _is_from_outside(recorded.event):
                return recorded
        return None


def _is_from_outside(event: AnyEvent | None) -> bool:
    """Tell whether an event came over a run by no decision of it: input, a stop, a silent step."""
    if isinstance(event, RunEnded):
        return event.outcome in {"cancelled", "timed_out"}
    return isinstance(event, InputReceived)


def _is_of_others(event: AnyEvent | None) -> bool:
    """Tell whether an event may be that of another attempt, or of somebody from outside."""
    if isinstance(event, RunEnded):
        return event.outcome == "cancelled"
    return isinstance(event, RunStarted | RunResumed | InputReceived)


def _is_same_step(then: AnyEvent | None, now: AnyEvent | None) -> bool:
    """Tell whether both are steps of one kind, of the same attempt where they claim a run."""
    if type(then) is not type(now):
        return False
    return getattr(then, "attempt", 0) == getattr(now, "attempt", 0)
