"""Facts about one job: when it should run, and what became of each time it was due.

Subject:  evt.{tenant}.{agent}.cron.{job}.channel._ (a job is a conversation of its own)
Order:    job_defined first; times that were due in their order, each fired, skipped or missed once
Writer:   cli, api, services.channel (what should be), services.scheduler (what became of it),
          services.channel and services.scheduler (how a run ended)
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.json import Decoder

from schemas.base import Attempt, Content, Event, EventId, Microseconds, Outcome

TimeOfDay = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Misfire = Literal["skip", "once", "all"]
Overlap = Literal["skip", "queue", "allow"]


class Schedule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a job is due; exactly one of `cron`, `every_s` and `once_at` is set."""

    cron: str | None = None
    """Five fields of civil time in `zone`."""
    every_s: Annotated[int, Meta(ge=1)] | None = None
    """Seconds between two times, counted from `anchor_at`."""
    once_at: Microseconds | None = None
    """The only time."""
    anchor_at: Microseconds | None = None
    zone: str = "UTC"
    """IANA time zone of `cron` and of the active hours."""
    start_at: Microseconds | None = None
    """Not due before this."""
    end_at: Microseconds | None = None
    """Not due after this."""
    active_from: TimeOfDay | None = None
    """Civil time from which it may be due, on any day; included."""
    active_to: TimeOfDay | None = None
    """Civil time up to which it may be due; not included, and past midnight if it is earlier."""
    jitter_s: Annotated[float, Meta(ge=0)] = 0.0
    """Longest delay; how long it is follows from the job's name and the time due."""


class Target(Struct, frozen=True, kw_only=True):
    """A conversation of the job's agent."""

    adapter: str
    conversation: str


class JobDefined(Event, tag="job_defined"):
    """Someone said what the job is from now on, all of it; an edit is another one of these."""

    schedule: Schedule
    prompt: Content
    """What each run is asked to do."""
    effective_at: Microseconds
    """It holds for times due after this. Never before a time that is already recorded."""
    model: str | None = None
    """`provider/name` for its runs; None for the agent's."""
    deliver_to: Target | None = None
    """Where results are told; None for nowhere."""
    misfire: Misfire = "once"
    """What becomes of times that nobody recorded: nothing, one run for all of them, or all."""
    misfire_window_s: Annotated[float, Meta(ge=0)] = 86_400.0
    """How late a missed time may still be run."""
    grace_s: Annotated[float, Meta(ge=0)] = 10.0
    """How late a time may be recorded and count as on time."""
    overlap: Overlap = "skip"
    """What becomes of a time that is due while an earlier run goes on."""
    timeout_s: Annotated[float, Meta(gt=0)] = 600.0
    """Longest run in all."""
    inactivity_s: Annotated[float, Meta(gt=0)] = 600.0
    """Longest step of a run."""
    retries: Annotated[int, Meta(ge=0)] = 0
    """How often a run that failed is tried again."""
    retry_delay_s: Annotated[float, Meta(ge=0)] = 60.0
    breaker_failures: Annotated[int, Meta(ge=1)] = 3
    """Failures in a row after which the job is held back."""
    breaker_cooldown_s: Annotated[float, Meta(ge=0)] = 3_600.0
    """How long it is held back before one run is tried."""
    made_in: Target | None = None
    """The conversation in which it was asked for; None where an operator defined it."""


class JobPaused(Event, tag="job_paused"):
    """Someone stopped the job until it is resumed."""

    effective_at: Microseconds
    reason: str = ""


class JobResumed(Event, tag="job_resumed"):
    """Someone let the job go on; its failures are forgotten."""

    effective_at: Microseconds


class JobDeleted(Event, tag="job_deleted"):
    """Someone ended the job; defining it again makes a new one under its name."""

    effective_at: Microseconds
    reason: str = ""


class OccurrenceFired(Event, tag="occurrence_fired"):
    """A time came and a run begins; the id of this event names the occurrence."""

    due_at: Microseconds
    manual: bool = False
    """Someone asked for it; it was not due by the schedule."""
    attempt: Attempt = 1
    retry_of: EventId | None = None
    """The occurrence that failed before."""
    stands_for: int = 0
    """Missed times before it that this one run makes up for."""


class OccurrenceSkipped(Event, tag="occurrence_skipped"):
    """A time came and there is deliberately no run."""

    due_at: Microseconds
    reason: Literal["overlap", "breaker", "paused", "deleted", "budget"]
    because: EventId | None = None
    """The run that goes on, the failure that opened the breaker, or what someone did."""
    detail: str = ""
    """Which budget is used up, its limit, what was spent and by what; empty for other reasons."""


class OccurrenceMissed(Event, tag="occurrence_missed"):
    """A time went by that nobody recorded; this was found later."""

    due_at: Microseconds
    reason: Literal["not_running", "late"]
    """No scheduler ran, or one did and could not record in time."""
    down_from_at: Microseconds = 0
    """When a scheduler was last known to run; 0 where that is not known."""
    down_to_at: Microseconds = 0
    policy: Misfire = "skip"
    """The policy that decided against a run of its own."""


class OccurrenceEnded(Event, tag="occurrence_ended"):
    """A run of the job ended; whether anybody is told is another fact."""

    occurrence: EventId
    outcome: Outcome
    text: Content = ""
    """What is to be told; empty when there is nothing to say."""
    reason: str = ""
    deliver_to: Target | None = None
    """Where it is to be told, as the job said at the time; None for nowhere."""
    budget: str | None = None
    """The budget that had no room for its next model call, where that is the reason: it is no
    failure of the job's."""


class OccurrenceDelivered(Event, tag="occurrence_delivered"):
    """What a run had to say stands in its conversation."""

    occurrence: EventId
    to: Target
    event: EventId
    """The event there."""


class DeliveryRefused(Event, tag="delivery_refused"):
    """What a run had to say could not be told."""

    occurrence: EventId
    to: Target
    reason: str


ScheduleEvent: TypeAlias = (
    JobDefined
    | JobPaused
    | JobResumed
    | JobDeleted
    | OccurrenceFired
    | OccurrenceSkipped
    | OccurrenceMissed
    | OccurrenceEnded
    | OccurrenceDelivered
    | DeliveryRefused
)
SCHEDULE_EVENTS: Decoder[ScheduleEvent] = Decoder(ScheduleEvent)
