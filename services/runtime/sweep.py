"""Find open runs that nobody holds any more, and hand them to a service again.

A delivery that ended without its run having ended is redelivered; this is for the rest: a consumer
that was made anew, an acknowledgement that should not have been. Recovery never waits for a start.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from psycopg.errors import UndefinedTable

from schemas.base import RunId, RunKind
from schemas.subjects import Subject
from services.errors import ServiceError
from services.runtime.conversation import Conversation
from services.runtime.database import Conn, using
from services.runtime.event_log import Delivery, Handler, Recorded
from services.runtime.live import changes
from services.runtime.process import Process
from services.runtime.telemetry.context import handling

EVERY_S: Final = 15.0
QUIET_S: Final = 60.0  # a run without an event for this long is looked at
REDELIVERED: Final = 2  # the attempt that tells a handler that an earlier owner is gone

log = structlog.get_logger()


class Quiet(Protocol):
    """A run that should move and has not."""

    @property
    def kind(self) -> RunKind: ...  # noqa: D102 - as in the projection of runs
    @property
    def run_id(self) -> RunId: ...  # noqa: D102
    @property
    def tenant(self) -> str: ...  # noqa: D102
    @property
    def agent(self) -> str: ...  # noqa: D102
    @property
    def adapter(self) -> str: ...  # noqa: D102
    @property
    def conversation(self) -> str: ...  # noqa: D102


class Stalled(Protocol):
    """How quiet runs are found: `projections.runs.stalled`."""

    async def __call__(self, conn: Conn, *, before_at: int) -> Sequence[Quiet]:
        """Return those whose last event was before `before_at`, UTC microseconds."""
        ...


class Sweep:
    """Looks at the open runs of one kind."""

    def __init__(self, kind: RunKind, process: Process, handle: Handler, stalled: Stalled) -> None:
        self._kind = kind
        self._process = process
        self._handle = handle
        self._stalled = stalled
        self._suspects: set[str] = set()

    async def run(self) -> None:
        """Look every `EVERY_S`, until stopped."""
        while not self._process.stopping.is_set():
            await self._process.pause(EVERY_S)
            if self._process.stopping.is_set():
                return
            try:
                await self.run_once()
            except (ServiceError, UndefinedTable) as error:  # before the first migration
                log.info("sweep.skipped", kind=self._kind, reason=str(error))

    async def run_once(self) -> list[str]:
        """Hand on every run that was unowned at two looks in a row; return their ids."""
        before = self._process.clock.now() - round(QUIET_S * 1_000_000)
        async with using(self._process.pool) as conn:
            found = await self._stalled(conn, before_at=before)
        quiet = [run for run in found if run.kind == self._kind]
        unowned = [run for run in quiet if not await self._process.live.anyone(changes(run.run_id))]
        again = [run for run in unowned if run.run_id in self._suspects]
        self._suspects = {run.run_id for run in unowned}
        for run in again:
            try:
                await self._hand_on(run)
            except ServiceError as error:
                log.info("run.unrecovered", kind=self._kind, run=run.run_id, reason=str(error))
            except Exception:  # a bug that one run meets must not keep the others waiting
                log.exception("run.unrecovered", kind=self._kind, run=run.run_id)
        return [run.run_id for run in again]

    async def _hand_on(self, run: Quiet) -> None:
        subject = Subject(run.tenant, run.agent, run.adapter, run.conversation)
        state = await self._process.conversations.newest(subject)
        found = await self._holder(subject, state, run)
        if found is None:
            return
        log.warning("run.recovered", kind=self._kind, run=run.run_id)
        with handling(found.envelope):
            await self._handle(Delivery(found, REDELIVERED))

    async def _holder(self, subject: Subject, state: Conversation, run: Quiet) -> Recorded | None:
        """Return the event whose delivery the run's last owner held."""
        if self._kind == "turn":
            turn = state.turn
            if turn is None or turn.turn_id != run.run_id:
                return None
            wanted = turn.holder
        else:
            stream = self._process.log.read(str(subject.of(self._kind, run.run_id)), fresh=True)
            wanted = None
            async for recorded in stream:
                if recorded.envelope.type in {"run_started", "run_resumed"}:
                    wanted = recorded.envelope.cause
            requested = state.requested(run.run_id)
            if wanted is None and requested is not None:  # requested, and never begun
                async for recorded in self._process.log.read(
                    str(subject), after=requested - 1, until=requested
                ):
                    return recorded
        async for recorded in self._process.log.read(str(subject), fresh=True):
            if recorded.envelope.id == wanted:
                return recorded
        return None
