"""Answers to *why*, for the interface and the command line: read models first, then the log.

What is recorded of a job comes from the read model, and what came behind its position from the log,
so an answer is current; while Postgres is away it comes from the log alone.
"""

from dataclasses import dataclass

import msgspec

from projections import conversations, jobs, positions, runs
from schemas.subjects import InvalidToken, Subject, matching
from services.errors import Rejected, Transient
from services.runtime.database import Pool, reading, using
from services.runtime.event_log import EventLog, Recorded
from services.runtime.jobs import why
from services.runtime.jobs.desk import UnknownJob, subject_of
from services.runtime.jobs.expected import Segment, timeline
from services.runtime.jobs.ledger import Happened, Ledger
from services.runtime.jobs.why import GAPS, Answer, minute_of
from services.runtime.recording import record
from services.runtime.why_message import Explanation, explain as explain_message

BEFORE = 86_400 * 1_000_000  # how long before a window a run may have begun that is in the way


class UnknownMessage(Rejected):
    """There is no such message or turn."""


@dataclass(frozen=True, slots=True)
class Explaining:
    """Looks up what is recorded and explains it."""

    log: EventLog
    pool: Pool
    tenant: str

    async def job(self, agent: str, job: str, *, after: int, until: int, now: int) -> Answer:
        """Return why a job did what it did with `after` < time <= `until`.

        Raises:
            UnknownJob: it was never defined.
            LogUnavailable: there is no telling now.
        """
        subject = subject_of(self.tenant, agent, job)
        segments, rows = await self._recorded(subject, after, until)
        if not segments:
            raise UnknownJob(f"agent {agent!r} never had a job {job!r}")
        return why.explain(agent, job, segments, rows, after=after, until=until, now=now)

    async def job_at(self, agent: str, job: str, at: int, *, now: int) -> Answer:
        """Return why a job did what it did in the minute of a time."""
        after, until = minute_of(at)
        return await self.job(agent, job, after=after, until=until, now=now)

    async def missed(self, *, after: int, now: int) -> list[Answer]:
        """Return, for every job, the times that were due and that nobody decided against.

        Raises:
            DatabaseUnavailable: the list of jobs is in the read model.
        """
        async with reading(self.pool, self.tenant) as conn:
            every = await jobs.listing(conn, self.tenant, deleted=True)
        found = []
        for each in every:
            answer = await self.job(each.agent, each.job, after=after, until=now, now=now)
            gaps = [line for line in answer.lines if line.verdict in GAPS]
            if gaps:
                found.append(msgspec.structs.replace(answer, lines=gaps))
        return found

    async def message(self, ref: str, *, now: int) -> Explanation:
        """Return what became of a message, by its id or that of a turn.

        Raises:
            UnknownMessage: there is none.
            DatabaseUnavailable: it cannot be looked for now.
        """
        async with reading(self.pool, self.tenant) as conn:
            place: object = await conversations.find(conn, self.tenant, ref)
            if place is None:
                place = await runs.one(conn, self.tenant, ref)
        if not isinstance(place, conversations.Place | runs.Run):
            raise UnknownMessage(f"no message or turn {ref!r} is known")
        return await self.message_in(
            Subject(self.tenant, place.agent, place.adapter, place.conversation), ref, now=now
        )

    async def message_in(self, conversation: Subject, ref: str, *, now: int) -> Explanation:
        """Return what became of a message of a conversation.

        Raises:
            UnknownMessage: there is none there.
        """
        try:
            pattern = matching(*conversation[:4])
        except InvalidToken as error:
            raise UnknownMessage(str(error)) from error
        events = [recorded async for recorded in self.log.read(pattern, fresh=True)]
        found = explain_message(events, ref, now=now)
        if found is None:
            raise UnknownMessage(f"no message or turn {ref!r} is known there")
        return found

    async def _recorded(
        self, subject: Subject, after: int, until: int
    ) -> tuple[tuple[Segment, ...], list[Happened]]:
        changes: list[Recorded] = []
        rows: list[Happened] = []
        position = 0
        agent, job = subject.agent or "", subject.conversation or ""
        try:
            async with using(self.pool) as conn:
                known = (await positions.listing(conn)).get(jobs.NAME)
            async with reading(self.pool, self.tenant) as conn:
                stored = await jobs.changes(conn, self.tenant, agent, job)
                rows = await jobs.recorded_since(
                    conn, Happened, self.tenant, agent, job, after=after - BEFORE, until=until
                )
        except Transient:
            known, stored = None, []
        if known is not None:
            position = known.seq
            changes = [
                record(it.seq, str(subject), msgspec.json.encode(it.envelope)) for it in stored
            ]
        else:
            rows = []
        ledger = Ledger(rows)
        behind = changes[-1].seq if changes else 0
        async for recorded in self.log.read(str(subject), after=position, fresh=True):
            ledger.take(recorded)
            if recorded.seq > behind:
                changes.append(recorded)
        return timeline(changes), ledger.all()
