"""Cancel branches and workers that nothing moves any more.

Consumes:  open runs, from the read model; their conversations and streams, from the log
Emits:     cancel_requested, with the reason
Never:     stops a run that waits for input; stops one that nobody had the time to take over
"""

from dataclasses import dataclass
from typing import Final

import structlog

from projections import runs
from projections.runs import Run
from schemas.base import RunId
from schemas.channel import CancelRequested
from schemas.subjects import Subject
from services.errors import ServiceError
from services.runtime import ids
from services.runtime.config import Config
from services.runtime.conversation import ActiveRun
from services.runtime.conversations import Conversations
from services.runtime.database import Pool, using
from services.runtime.writer import Writer

# A run without an owner is taken over within 10 s by redelivery, or within 90 s by the sweep. When
# a machine wakes up after hours, that has to come first.
OBSERVED_S: Final = 180.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Seen:
    """A run that stood still at every look since."""

    seq: int
    """Its last event."""
    since: float
    """Monotonic seconds."""


def patience_s(config: Config, kind: str) -> float:
    """Return how long a run of a kind may be without an event."""
    own = config.branch if kind == "branch" else config.worker
    return own.inactivity_timeout_s + config.cortex.stalled_s


class Supervision:
    """Watches the open branches and workers of all tenants."""

    def __init__(
        self, writer: Writer, pool: Pool, conversations: Conversations, config: Config
    ) -> None:
        self._writer = writer
        self._pool = pool
        self._conversations = conversations
        self._patience_s = {kind: patience_s(config, kind) for kind in ("branch", "worker")}
        self._seen: dict[RunId, Seen] = {}
        self._asked: set[RunId] = set()

    async def run_once(self, now: int) -> list[RunId]:
        """Look once, at `now` in UTC microseconds; return the runs whose end was asked for.

        Raises:
            DatabaseUnavailable: there is no reading which runs are open.
        """
        before = now - round(min(self._patience_s.values()) * 1_000_000)
        async with using(self._pool) as conn:
            found = await runs.stalled(conn, before_at=before)
        still = [run for run in found if self._stands_still(run, now)]
        clock = self._writer.clock.monotonic()
        seen = {run.run_id: self._first_seen(run, clock) for run in still}
        self._seen = seen
        self._asked &= seen.keys()
        stopped = []
        for run in still:
            if run.run_id in self._asked or clock - seen[run.run_id].since < OBSERVED_S:
                continue
            try:
                if await self._stop(run, now):
                    stopped.append(run.run_id)
            except ServiceError as error:  # one run's trouble is not the others'
                log.info("supervision.put_off", run=run.run_id, reason=str(error))
        return stopped

    def _stands_still(self, run: Run, now: int) -> bool:
        patience = self._patience_s.get(run.kind)
        return patience is not None and now - run.last_at > patience * 1_000_000

    def _first_seen(self, run: Run, clock: float) -> Seen:
        known = self._seen.get(run.run_id)
        if known is not None and known.seq == run.last_seq:
            return known
        return Seen(run.last_seq, clock)

    async def _stop(self, run: Run, now: int) -> bool:
        """Ask for the end of a run, if the log agrees that nothing moves it."""
        subject = Subject(run.tenant, run.agent, run.adapter, run.conversation)
        state = await self._conversations.newest(subject)
        active = state.run(run.run_id)
        if active is None or active.waiting:
            return False
        last = await self._writer.log.last(str(subject.of(run.kind, run.run_id)), fresh=True)
        if last is not None and last.seq > run.last_seq:
            return False  # the read model is behind
        await self._ask(subject, active, run, now)
        self._asked.add(run.run_id)  # nobody who is to end it may be there; once is enough
        return True

    async def _ask(self, subject: Subject, active: ActiveRun, run: Run, now: int) -> None:
        minutes = (now - run.last_at) // 60_000_000
        reason = f"nothing had happened in it for {minutes} minutes"
        event = CancelRequested(run_id=active.run_id, reason=reason)
        id_ = ids.derived("stalled", run.run_id, str(run.attempts))
        envelope = self._writer.seal(event, id=id_)
        await self._writer.append_once(str(subject), envelope, since=active.seq)
        log.warning("run.stalled", run=run.run_id, kind=run.kind, minutes=minutes)
