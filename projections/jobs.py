"""Jobs: what they are, and what became of each time at which one was due.

Grain:    `jobs`: one row per job; `occurrences`: one per time that was fired, skipped or missed, by
          the event that says so (its run, the end of it and the delivery are in the same row)
Source:   the channel streams of jobs
Read by:  the job lists and `why` of the api and the command line
Rebuild:  any time
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from psycopg.rows import tuple_row

from projections._recorded import Recorded, place
from projections._sql import Conn, R, load, rows
from projections._statement import Insert, Merge, Row, Statement
from schemas.base import EventId, Outcome
from schemas.channel import TurnStarted
from schemas.schedule import (
    DeliveryRefused,
    JobDefined,
    JobDeleted,
    JobPaused,
    JobResumed,
    OccurrenceDelivered,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    ScheduleEvent,
)

NAME = "jobs"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("jobs.sql")
TABLES = ("jobs", "occurrences", "job_changes")
MOST: Final = 10_000_000

JOBS = Merge(
    "jobs",
    key=("tenant", "agent", "job"),
    first=("created_at",),
    last=("definition", "paused", "deleted", "reason", "changed_by", "changed_at", "last_seq"),
)
OCCURRENCES = Merge(
    "occurrences",
    key=("tenant", "agent", "job", "occurrence"),
    first=("seq", "due_at", "recorded_at", "actor", "state", "manual", "attempt", "started_at"),
    last=(
        *("reason", "because", "down_from_at", "down_to_at", "policy", "stands_for", "retry_of"),
        *("ended_at", "outcome", "end_reason", "delivered_at", "delivered_to", "refused"),
    ),
)
CHANGES = Insert(SQL["add_changes"], key=("tenant", "seq"))
TARGETS = (JOBS, OCCURRENCES, CHANGES)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `jobs`, with its newest occurrence; times in UTC microseconds."""

    agent: str
    job: str
    definition: JobDefined
    standing: Literal["active", "paused", "deleted"]
    reason: str
    changed_by: str
    created_at: int
    changed_at: int
    last_seq: int
    last_due_at: int | None
    last_state: Literal["fired", "skipped", "missed"] | None
    last_outcome: Outcome | None
    running: int
    """Occurrences that have not ended."""


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `occurrences`."""

    occurrence: EventId
    seq: int
    due_at: int
    recorded_at: int
    actor: str
    state: Literal["fired", "skipped", "missed"]
    manual: bool
    attempt: int
    started_at: int | None
    reason: str | None
    because: EventId | None
    down_from_at: int | None
    down_to_at: int | None
    policy: str | None
    stands_for: int | None
    retry_of: EventId | None
    ended_at: int | None
    outcome: Outcome | None
    end_reason: str | None
    delivered_at: int | None
    delivered_to: str | None
    refused: str | None


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the row of the job, or of one of its occurrences."""
    event = recorded.event
    if not isinstance(event, ScheduleEvent | TurnStarted):
        return
    tenant, agent, _, job, *_ = place(recorded.subject)
    where: Row = {"tenant": tenant, "agent": agent or "", "job": job or ""}
    if isinstance(event, JobDefined | JobPaused | JobResumed | JobDeleted):
        yield Statement(JOBS, {**where, **_standing(event), **_changed(recorded)})
        change = {"seq": recorded.seq, "envelope": msgspec.json.decode(recorded.body)}
        yield Statement(CHANGES, {**where, **change})
        return
    row = _occurrence(event, recorded)
    if row is not None:
        yield Statement(OCCURRENCES, {**where, **row})


def _changed(recorded: Recorded) -> Row:
    at = recorded.envelope.at
    return {
        "created_at": at,
        "changed_by": recorded.envelope.actor,
        "changed_at": at,
        "last_seq": recorded.seq,
    }


def _standing(event: JobDefined | JobPaused | JobResumed | JobDeleted) -> Row:
    match event:
        case JobDefined():
            definition = msgspec.to_builtins(event)
            return {"definition": definition, "deleted": False, "reason": ""}
        case JobPaused(reason=reason):
            return {"paused": True, "reason": reason}
        case JobResumed():
            return {"paused": False, "reason": ""}
        case JobDeleted(reason=reason):
            return {"paused": False, "deleted": True, "reason": reason}


def _occurrence(
    event: OccurrenceFired
    | OccurrenceSkipped
    | OccurrenceMissed
    | OccurrenceEnded
    | OccurrenceDelivered
    | DeliveryRefused
    | TurnStarted,
    recorded: Recorded,
) -> Row | None:
    id_, at = recorded.envelope.id, recorded.envelope.at
    actor = recorded.envelope.actor
    row: Row = {"occurrence": id_, "seq": recorded.seq, "recorded_at": at, "actor": actor}
    match event:
        case OccurrenceFired():
            row |= {"state": "fired", "due_at": event.due_at, "manual": event.manual}
            row |= {"attempt": event.attempt, "retry_of": event.retry_of}
            return row | {"stands_for": event.stands_for}
        case OccurrenceSkipped():
            row |= {"state": "skipped", "due_at": event.due_at, "reason": event.reason}
            row |= {"end_reason": event.detail} if event.detail else {}
            return row | {"because": event.because}
        case OccurrenceMissed():
            row |= {"state": "missed", "due_at": event.due_at, "reason": event.reason}
            row |= {"down_from_at": event.down_from_at, "down_to_at": event.down_to_at}
            return row | {"policy": event.policy}
        case TurnStarted(occurrence=occurrence):
            return None if occurrence is None else {"occurrence": occurrence, "started_at": at}
        case OccurrenceEnded(occurrence=occurrence):
            ended: Row = {"ended_at": at, "outcome": event.outcome, "end_reason": event.reason}
            return {"occurrence": occurrence, **ended}
        case OccurrenceDelivered(occurrence=occurrence, to=to):
            delivered_to = f"{to.adapter}/{to.conversation}"
            return {"occurrence": occurrence, "delivered_at": at, "delivered_to": delivered_to}
        case DeliveryRefused(occurrence=occurrence, reason=reason):
            return {"occurrence": occurrence, "refused": reason}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `job_changes`: an event that defined, paused, resumed or deleted a job."""

    seq: int
    envelope: dict[str, Any]
    """As it is stored in the log."""


async def listing(
    conn: Conn, tenant: str, *, agent: str | None = None, deleted: bool = False
) -> list[Job]:
    """Return jobs by agent and name."""
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "job": None,
        "deleted": deleted,
    }
    return await rows(conn, Job, SQL["listing"], parameters)


async def one(conn: Conn, tenant: str, agent: str, job: str) -> Job | None:
    """Return a job, deleted or not, or None."""
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "job": job,
        "deleted": True,
    }
    found = await rows(conn, Job, SQL["listing"], parameters)
    return found[0] if found else None


async def occurrences(  # noqa: PLR0913 - a window of one job's
    conn: Conn,
    tenant: str,
    agent: str,
    job: str,
    *,
    after: int = 0,
    until: int = 2**63 - 1,
    limit: int = MOST,
) -> list[Occurrence]:
    """Return the newest `limit` occurrences due with `after` < time <= `until`, newest first."""
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "job": job,
        "after": after,
        "until": until,
        "limit": limit,
    }
    return await rows(conn, Occurrence, SQL["occurrences"], parameters)


async def recorded_since(  # noqa: PLR0913 - a window of one job's
    conn: Conn,
    row: type[R],
    tenant: str,
    agent: str,
    job: str,
    *,
    after: int,
    until: int,
) -> list[R]:
    """Return all occurrences of a window by when they were due, a month of minutes at once.

    Args:
        conn: Reads the tenant's rows.
        row: What each becomes: a struct like an array, whose fields are the first seven columns of
            `recorded` and then those that are packed in the eighth. The defaults of the latter are
            those of a run that came out well.
        tenant: Whose.
        agent: Of which agent.
        job: Of which job.
        after: Due after this time, UTC microseconds.
        until: And up to this one.
    """
    parameters: dict[str, object] = {
        "tenant": tenant,
        "agent": agent,
        "job": job,
        "after": after,
        "until": until,
    }
    async with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(SQL["recorded"], parameters)
        found = [
            each[:-1] if each[-1] is None else (*each[:-1], *msgspec.json.decode(each[-1]))
            for each in await cursor.fetchall()
        ]
    return msgspec.convert(found, list[row])  # type: ignore[valid-type]  # a type at run time


async def changes(conn: Conn, tenant: str, agent: str, job: str) -> list[Change]:
    """Return what defined the job, oldest first."""
    parameters = {"tenant": tenant, "agent": agent, "job": job}
    return await rows(conn, Change, SQL["changes"], parameters)
