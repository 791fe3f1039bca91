"""Where jobs are defined, paused, resumed, deleted and run: checked, then one event on the log.

Every event is appended on what the stream was decided from, so that it can say from which time on
it holds: never for a time that is recorded already, whatever anybody's clock shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from schemas.base import EventId, RunId
from schemas.schedule import (
    JobDefined,
    JobDeleted,
    JobPaused,
    JobResumed,
    OccurrenceFired,
    ScheduleEvent,
    Target,
)
from schemas.subjects import JOB, Subject
from services.errors import Conflict, Rejected
from services.runtime.agents import Agents
from services.runtime.bodies import BodyStore, content
from services.runtime.conversation import JobStanding
from services.runtime.conversations import Conversations
from services.runtime.jobs.cron import InvalidSchedule
from services.runtime.jobs.decider import MOST_OPEN
from services.runtime.jobs.request import JobRequest, define, named
from services.runtime.text import clean
from services.runtime.writer import Writer

ADAPTER = JOB


class UnknownJob(Rejected):
    """There is no such job."""


class JobExists(Rejected):
    """A job of this name is there already."""


class NotNow(Rejected):
    """The job does not allow it as it stands."""


@dataclass(frozen=True, slots=True)
class By:
    """Who asks, and because of what."""

    actor: str
    cause: EventId | None = None
    turn: RunId | None = None
    id: EventId | None = None
    """Id of the event, where the same request may be made twice; None for a new one."""
    since: int = 0
    """Sequence before which it cannot have been made."""
    place: Target | None = None
    """The conversation that it is asked in; None for an operator, who may steer any job."""
    only: Callable[[JobDefined], None] | None = None
    """Raises `Rejected` for a job that this is not to be done to; None where any will do."""


class Receipt(Struct, frozen=True, kw_only=True):
    """Proof that it is in the log."""

    event_id: EventId
    seq: int


def subject_of(tenant: str, agent: str, job: str) -> Subject:
    """Return the stream of a job.

    Raises:
        InvalidSchedule: it cannot be called like this.
    """
    return Subject(tenant, agent, ADAPTER, named(job))


Decide = Callable[[JobStanding | None, int], ScheduleEvent]
"""From how the job stands, and the time from which a change may hold, to the change."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """Takes in what is said of jobs."""

    writer: Writer
    bodies: BodyStore
    conversations: Conversations
    agents: Agents
    zone: str = "UTC"
    """The usual time zone."""

    async def create(self, job: Subject, asked: JobRequest, by: By) -> Receipt:
        """Define a new job.

        Raises:
            JobExists, InvalidSchedule, UnknownAgent: it cannot be.
            LogUnavailable, LogFull: it is not stored, or that is not known.
        """
        return await self._define(job, asked, by, new=True)

    async def edit(self, job: Subject, asked: JobRequest, by: By) -> Receipt:
        """Change a job that there is; what is not asked for stays.

        Raises:
            UnknownJob, InvalidSchedule: it cannot be.
            LogUnavailable, LogFull: it is not stored, or that is not known.
        """
        return await self._define(job, asked, by, new=False)

    async def _define(self, job: Subject, asked: JobRequest, by: By, *, new: bool) -> Receipt:
        await self.agents.get(job.tenant, job.agent or "")
        prompt = clean(asked.prompt).strip() if asked.prompt is not None else None
        if prompt == "":
            raise InvalidSchedule("a job needs a prompt: what each run is to do")
        stored = await content(self.bodies, prompt) if prompt is not None else None

        def decided(standing: JobStanding | None, effective_at: int) -> JobDefined:
            there = standing is not None and standing.standing != "deleted"
            if new and there:
                raise JobExists(f"there is a job {job.conversation!r} already; edit or delete it")
            if not new and not there:
                raise _unknown(job)
            return define(
                asked,
                standing.definition if standing is not None and there else None,
                now=self.writer.clock.now(),
                effective_at=effective_at,
                prompt=stored,
                zone=self.zone,
                made_in=by.place,
            )

        return await self._append(job, decided, by)

    async def pause(self, job: Subject, by: By, reason: str = "") -> Receipt:
        """Stop a job until it is resumed.

        Raises:
            UnknownJob, NotNow: it cannot be.
        """
        said = clean(reason)[:1_000]
        return await self._change(
            job, "active", lambda at: JobPaused(effective_at=at, reason=said), by
        )

    async def resume(self, job: Subject, by: By) -> Receipt:
        """Let a paused job go on, or close the breaker of one that failed.

        Raises:
            UnknownJob: it cannot be.
        """
        return await self._change(job, None, lambda at: JobResumed(effective_at=at), by)

    async def delete(self, job: Subject, by: By, reason: str = "") -> Receipt:
        """End a job.

        Raises:
            UnknownJob: there is none.
        """
        said = clean(reason)[:1_000]
        return await self._change(
            job, None, lambda at: JobDeleted(effective_at=at, reason=said), by
        )

    async def run(self, job: Subject, by: By) -> Receipt:
        """Run a job now, whatever its schedule, a pause or the breaker say.

        Raises:
            UnknownJob, NotNow: it cannot be.
        """

        def decided(standing: JobStanding | None, _: int) -> OccurrenceFired:
            there = _there(job, standing)
            if there.open and there.definition.overlap == "skip":
                raise NotNow(f"job {job.conversation!r} is running: {there.open[0].id}")
            if len(there.open) >= MOST_OPEN:
                raise NotNow(f"job {job.conversation!r} has {len(there.open)} runs waiting")
            return OccurrenceFired(due_at=self.writer.clock.now(), manual=True)

        return await self._append(job, decided, by)

    async def _change(
        self,
        job: Subject,
        only: Literal["active"] | None,
        make: Callable[[int], ScheduleEvent],
        by: By,
    ) -> Receipt:
        def decided(standing: JobStanding | None, effective_at: int) -> ScheduleEvent:
            there = _there(job, standing)
            if only is not None and there.standing != only:
                raise NotNow(f"job {job.conversation!r} is {there.standing}")
            return make(effective_at)

        return await self._append(job, decided, by)

    async def _append(self, job: Subject, decide: Decide, by: By) -> Receipt:
        subject = str(job)
        while True:
            if by.id is not None and (found := await self._find(subject, by)) is not None:
                return found
            state = await self.conversations.newest(job)
            horizon = state.job.horizon if state.job else 0
            if by.only is not None and state.job is not None:
                by.only(state.job.definition)
            event = decide(state.job, max(self.writer.clock.now(), horizon))
            envelope = self.writer.seal(
                event, id=by.id, cause=by.cause, turn=by.turn, actor=by.actor
            )
            try:
                seq = await self.writer.log.append_if(subject, state.seq, envelope)
            except Conflict:
                continue
            return Receipt(event_id=envelope.id, seq=seq)

    async def _find(self, subject: str, by: By) -> Receipt | None:
        async for recorded in self.writer.log.read(subject, after=by.since, fresh=True):
            if recorded.envelope.id == by.id:
                return Receipt(event_id=recorded.envelope.id, seq=recorded.seq)
        return None


def _there(job: Subject, standing: JobStanding | None) -> JobStanding:
    if standing is None or standing.standing == "deleted":
        raise _unknown(job)
    return standing


def _unknown(job: Subject) -> UnknownJob:
    return UnknownJob(f"agent {job.agent!r} has no job {job.conversation!r}")
