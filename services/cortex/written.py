"""What the cortex has written of each agent: the last days and the newest synthesis.

Read from the log as far as it goes at each question; what was read is kept.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from schemas.cortex import DaySummarised, KnowledgeSynthesised
from services.runtime.behind import HistoryGone, behind
from services.runtime.briefings import subject_of
from services.runtime.event_log import EventLog

DAYS: Final = 14  # kept: a week is shown, and a change of the time zone may split days


@dataclass(slots=True)
class _Kept:
    days: deque[DaySummarised] = field(default_factory=lambda: deque(maxlen=DAYS))
    days_seq: int = 0
    synthesis: KnowledgeSynthesised | None = None
    knowledge_seq: int = 0


class Written:
    """The cortex's own events."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def refresh(self, tenant: str, agent: str) -> None:
        """Read what came since.

        Raises:
            LogUnavailable: it cannot be read now.
        """
        try:
            await self._read_on(tenant, agent)
        except HistoryGone:
            del self._kept[tenant, agent]
            await self._read_on(tenant, agent)

    async def _read_on(self, tenant: str, agent: str) -> None:
        """Take in what came since.

        Raises:
            HistoryGone: what is kept is not in the log any more.
        """
        kept = self._kept.setdefault((tenant, agent), _Kept())
        days = str(subject_of(tenant, agent, "days"))
        async for recorded in behind(self._log, days, kept.days_seq, fresh=True):
            kept.days_seq = recorded.seq
            if isinstance(recorded.event, DaySummarised):
                kept.days.append(recorded.event)
        knowledge = str(subject_of(tenant, agent, "knowledge"))
        async for recorded in behind(self._log, knowledge, kept.knowledge_seq, fresh=True):
            kept.knowledge_seq = recorded.seq
            if isinstance(recorded.event, KnowledgeSynthesised):
                kept.synthesis = recorded.event

    def days(self, tenant: str, agent: str) -> list[DaySummarised]:
        """Return the last days, oldest first."""
        return list(self._kept.get((tenant, agent), _Kept()).days)

    def synthesis(self, tenant: str, agent: str) -> KnowledgeSynthesised | None:
        """Return the newest synthesis, or None."""
        return self._kept.get((tenant, agent), _Kept()).synthesis
