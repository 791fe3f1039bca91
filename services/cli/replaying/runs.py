"""What of a recording can be driven again: runs, and single decisions that are an event each."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from schemas.base import EventId, RunId
from schemas.channel import (
    BranchRequested,
    CancelRequested,
    CheckpointCut,
    CompactionRequested,
    TurnResumed,
    TurnStarted,
)
from schemas.cortex import (
    BriefingWritten,
    DaySummarised,
    MemoriesAssociated,
    SynthesisRequested,
)
from schemas.run import RunEnded, RunResumed, RunStarted
from schemas.schedule import OccurrenceFired, OccurrenceMissed, OccurrenceSkipped
from schemas.subjects import parse
from services.cli.replaying.recording import Recording
from services.runtime.event_log import Recorded

Kind = Literal[
    "turn", "branch", "worker", "compaction", "checkpoint", "synthesis", "day", "briefing"
]


@dataclass(slots=True)
class Run:
    """One recorded run, or one decision that is no more than an event."""

    run_id: RunId
    """Of a decision, the id of its event."""
    kind: Kind
    subject: str
    asked: Recorded | None = None
    """The event that asks for the run, where it is a decision of its own; or all of it."""
    claims: list[Recorded] = field(default_factory=list)
    """Events by which a process took it, one for each attempt."""
    steps: list[Recorded] = field(default_factory=list)


def runs_of(recording: Recording, *, since: int = 0) -> list[Run]:
    """Return the runs of a recording that began at `since` or later, in order.

    A run whose beginning is not in the recording is left out.
    """
    found: dict[RunId, Run] = {}
    for recorded in recording.events:
        event = recorded.event
        run = _begun(recorded) if recorded.envelope.at >= since else None
        if run is not None:
            found.setdefault(run.run_id, run)
        run_id = getattr(event, "run_id", None) or getattr(event, "turn_id", None)
        known = found.get(run_id) if run_id else None
        if known is None:
            continue
        if recorded.subject == known.subject:
            known.steps.append(recorded)
        if _claims(known, recorded):
            known.claims.append(recorded)
    return list(found.values())


def _begun(recorded: Recorded) -> Run | None:
    """Return what begins with an event, or None."""
    subject, id_ = parse(recorded.subject), RunId(recorded.envelope.id)
    match recorded.event:
        case TurnStarted(turn_id=turn_id):
            return Run(turn_id, "turn", str(subject.of("turn")))
        case RunStarted(run_id=run_id, kind="branch" | "worker" as kind):
            return Run(run_id, kind, recorded.subject)
        case CompactionRequested(run_id=run_id):
            return Run(run_id, "compaction", str(subject.of("compaction", run_id)), recorded)
        case SynthesisRequested(run_id=run_id):
            return Run(run_id, "synthesis", str(subject.of("synthesis", run_id)), recorded)
        case CheckpointCut(run_id=None):  # in an emergency, without a run
            return Run(id_, "checkpoint", recorded.subject, recorded)
        case DaySummarised():
            return Run(id_, "day", recorded.subject, recorded)
        case BriefingWritten():
            return Run(id_, "briefing", recorded.subject, recorded)
        case _:
            return None


def _claims(run: Run, recorded: Recorded) -> bool:
    """Tell whether an event is that by which a process took a run: to drive it, or to end it."""
    event = recorded.event
    if run.kind == "turn":
        return isinstance(event, TurnStarted | TurnResumed)
    if isinstance(event, RunEnded):  # by whoever was asked and found that it cannot be driven
        asked = run.asked or (run.claims[0] if run.claims else None)
        of = (asked.envelope.id if run.asked else asked.envelope.cause) if asked else None
        return event.outcome == "failed" and of is not None and recorded.envelope.cause == of
    return isinstance(event, RunStarted | RunResumed)


def not_compared(recording: Recording, *, since: int = 0) -> dict[str, int]:
    """Return how many decisions of each kind there are that no replay takes anew."""
    found = Counter(
        what
        for recorded in recording.events
        if recorded.envelope.at >= since and (what := _uncompared(recorded))
    )
    return dict(sorted(found.items()))


def _uncompared(recorded: Recorded) -> str | None:
    match recorded.event:
        case MemoriesAssociated():
            return "passes over new memories"
        case CancelRequested() if recorded.envelope.actor == "cortex":
            return "stops of runs that stood still"
        case BranchRequested(purpose="persistence"):
            return "requests for persistence branches"
        case OccurrenceFired() | OccurrenceMissed() | OccurrenceSkipped():
            return "occurrences of jobs"
        case _:
            return None


def concluded(run: Run) -> tuple[str, ...]:
    """Return the parts of the id that the conclusion of a run has."""
    return ("synthesised" if run.kind == "synthesis" else "concluded", run.run_id)


def cause_of(recording: Recording, recorded: Recorded) -> Recorded | None:
    """Return the event that led to another one, where the recording has it."""
    return recording.by_id.get(recorded.envelope.cause or EventId(""))
