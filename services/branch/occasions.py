"""Request persistence branches where one is due, without anybody asking for it.

Consumes:  the read model of what is still to be looked through, the folds of those conversations
Emits:     branch_requested, at most one for each occasion
Never:     runs a model; requests anything where nothing new was said

A loop, not a consumer of messages: it costs the way from a message to its answer nothing, and idle
time needs a look at the clock anyway. A read model says where to look. The log decides: the
request is appended by compare-and-append, with an id that is derived from the request before it,
so that any number of replicas look at once, and a loop that dies is missed by nobody.
"""

from typing import Final

import structlog
from psycopg.errors import UndefinedTable

from projections import persistence as pending
from schemas.base import Microseconds, RunId
from schemas.channel import BranchRequested
from schemas.subjects import Subject
from services.errors import Conflict, ServiceError
from services.runtime import ids, persistence
from services.runtime.config import PersistenceSettings
from services.runtime.conversations import Conversations
from services.runtime.database import Pool, using
from services.runtime.persistence import SECOND, Occasion
from services.runtime.process import Process
from services.runtime.writer import Writer

EVERY_S: Final = 15.0  # nobody waits for a memory; a shorter `idle_s` is looked for more often
OFTEN_S: Final = 1.0
PAGE: Final = 500  # conversations read at once
MOST: Final = 20  # requests of one look: what has piled up is worked off bit by bit

log = structlog.get_logger()


class Occasions:
    """Looks where something was said; any number of replicas may."""

    def __init__(
        self,
        writer: Writer,
        conversations: Conversations,
        pool: Pool,
        settings: PersistenceSettings,
    ) -> None:
        self._writer = writer
        self._conversations = conversations
        self._pool = pool
        self._settings = settings

    async def run(self, process: Process) -> None:
        """Look again and again, until the process is asked to stop."""
        every_s = min(EVERY_S, max(OFTEN_S, self._settings.idle_s))
        while not process.stopping.is_set():
            await process.pause(every_s)
            if process.stopping.is_set():
                return
            try:
                await self.run_once(process.clock.now())
            except (ServiceError, UndefinedTable) as error:  # before the first migration
                log.info("persistence.skipped", reason=str(error))

    async def run_once(self, now: Microseconds) -> list[Subject]:
        """Look at every conversation once; return those for which a branch was requested.

        Raises:
            DatabaseUnavailable: the read model cannot be had; nothing is lost by looking later.
        """
        requested: list[Subject] = []
        oldest = now - round(self._settings.max_age_s * SECOND)
        after = 0
        while True:
            async with using(self._pool) as conn:
                rows = await pending.pending(conn, said_since=oldest, after=after, limit=PAGE)
            for row in rows:
                subject = Subject(row.tenant, row.agent, row.adapter, row.conversation)
                if await self._look(subject, row.last_seq, now):
                    requested.append(subject)
                if len(requested) >= MOST:
                    return requested
            if len(rows) < PAGE:
                return requested
            after = rows[-1].said_seq

    async def _look(self, subject: Subject, seq: int, now: Microseconds) -> bool:
        """Look at one conversation; what is wrong with it must not keep us from the others."""
        try:
            return await self.consider(subject, seq, now) is not None
        except ServiceError as error:
            log.warning("persistence.failed", conversation=str(subject), reason=str(error))
            return False

    async def consider(self, subject: Subject, seq: int, now: Microseconds) -> Occasion | None:
        """Request a branch for a conversation if one is due; return why it was requested.

        Args:
            subject: Its channel stream.
            seq: A sequence up to which the stream must be known.
            now: UTC microseconds.

        Raises:
            LogUnavailable, LogFull: look again later.
        """
        state = await self._conversations.at_least(subject, seq)
        while True:
            occasion = persistence.decide(state.unsaved, self._settings, now=now)
            if occasion is None or state.at is None:
                return None
            unsaved = state.unsaved
            run_id = RunId(ids.derived("persistence", str(subject), unsaved.requested or ""))
            event = BranchRequested(
                run_id=run_id, task=unsaved.task, forked_at=state.at, purpose="persistence"
            )
            envelope = self._writer.seal(
                event, id=ids.derived("requested", run_id), cause=unsaved.said
            )
            try:
                stored = await self._writer.log.append_if(str(subject), state.seq, envelope)
            except Conflict:
                state = await self._conversations.newest(subject)
            else:
                await self._conversations.at_least(subject, stored)  # the read model may lag
                log.info("persistence.requested", run=run_id, occasion=occasion)
                return occasion
