"""What is recorded of a job's occurrences: from rows of the read model, then from the log. Pure."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Literal

import msgspec
from msgspec.structs import replace

from schemas.base import EventId, Outcome
from schemas.channel import TurnStarted
from schemas.schedule import (
    DeliveryRefused,
    OccurrenceDelivered,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
)
from services.runtime.event_log import Recorded


class Happened(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One occurrence and what became of it; times in UTC microseconds.

    The defaults are those of a run that came out well: most do, and their rows leave out the rest.
    The order of the fields is that of the read model's columns.
    """

    occurrence: EventId
    seq: int
    due_at: int
    recorded_at: int
    started_at: int | None = None
    ended_at: int | None = None
    delivered_to: str | None = None
    state: Literal["fired", "skipped", "missed"] = "fired"
    outcome: Outcome | None = "succeeded"
    """None while it runs, and where it did not."""
    end_reason: str | None = None
    """Of a skipped one: the budget that is used up."""
    refused: str | None = None
    actor: str = ""
    manual: bool = False
    attempt: int = 1
    reason: str | None = None
    because: EventId | None = None
    down_from_at: int | None = None
    down_to_at: int | None = None
    policy: str | None = None
    stands_for: int | None = None
    retry_of: EventId | None = None

    @property
    def by_schedule(self) -> bool:
        """Whether it is what became of a time due, not a run beside it."""
        return not self.manual and self.attempt == 1


class Ledger:
    """Occurrences by id."""

    def __init__(self, rows: Iterable[Happened] = ()) -> None:
        self._by_id: dict[EventId, Happened] = {row.occurrence: row for row in rows}

    def take(self, recorded: Recorded) -> None:
        """Take in an event of the job's stream; one that is known changes nothing."""
        event, at = recorded.event, recorded.envelope.at
        match event:
            case OccurrenceFired() | OccurrenceSkipped() | OccurrenceMissed():
                found = _happened(event, recorded)
                self._by_id.setdefault(found.occurrence, found)
            case TurnStarted(occurrence=id_) if id_ is not None:
                known = self._by_id.get(id_)
                if known is not None and known.started_at is None:
                    self._change(id_, started_at=at)
            case OccurrenceEnded(occurrence=id_):
                self._change(id_, ended_at=at, outcome=event.outcome, end_reason=event.reason)
            case OccurrenceDelivered(occurrence=id_, to=to):
                where = f"{to.adapter}/{to.conversation}"
                self._change(id_, delivered_to=where)
            case DeliveryRefused(occurrence=id_, reason=reason):
                self._change(id_, refused=reason)
            case _:
                pass

    def _change(self, id_: EventId, **changes: object) -> None:
        if id_ in self._by_id:
            self._by_id[id_] = replace(self._by_id[id_], **changes)

    def all(self) -> list[Happened]:
        """Return them in the order in which they were due."""
        recorded = sorted(self._by_id.values(), key=attrgetter("seq"))
        recorded.sort(key=attrgetter("due_at"))  # two keys of plain numbers: faster than pairs
        return recorded


def _happened(
    event: OccurrenceFired | OccurrenceSkipped | OccurrenceMissed, recorded: Recorded
) -> Happened:
    envelope = recorded.envelope
    fired = isinstance(event, OccurrenceFired)
    missed = isinstance(event, OccurrenceMissed)
    return Happened(
        occurrence=envelope.id,
        seq=recorded.seq,
        due_at=event.due_at,
        recorded_at=envelope.at,
        actor=envelope.actor,
        state="fired" if fired else "missed" if missed else "skipped",
        outcome=None,
        end_reason=event.detail or None if isinstance(event, OccurrenceSkipped) else None,
        manual=event.manual if isinstance(event, OccurrenceFired) else False,
        attempt=event.attempt if isinstance(event, OccurrenceFired) else 1,
        stands_for=event.stands_for if isinstance(event, OccurrenceFired) else None,
        retry_of=event.retry_of if isinstance(event, OccurrenceFired) else None,
        reason=None if isinstance(event, OccurrenceFired) else event.reason,
        because=event.because if isinstance(event, OccurrenceSkipped) else None,
        down_from_at=event.down_from_at if isinstance(event, OccurrenceMissed) else None,
        down_to_at=event.down_to_at if isinstance(event, OccurrenceMissed) else None,
        policy=event.policy if isinstance(event, OccurrenceMissed) else None,
    )
