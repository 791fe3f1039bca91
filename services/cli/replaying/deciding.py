"""Take anew what the compactor and the cortex decide by themselves: each decision is one event.

They look at a conversation or an agent whenever something has changed, and what they decide goes on
the log behind what they saw. A look that came to nothing leaves no trace, so there is nothing to
compare it with.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, cast

from projections.activity import Pulse
from schemas.subjects import parse
from services.cli.replaying.around import AroundThen
from services.cli.replaying.past import AttemptOver, Diverged, Past, Stuck
from services.cli.replaying.ports import Folds, Nowhere
from services.cli.replaying.runs import Run, cause_of
from services.compactor import loops as compactor
from services.compactor.service import Compactor
from services.cortex.briefer import Briefer
from services.cortex.days_kept import DaysKept
from services.cortex.knowledge import Knowledge
from services.cortex.tending import Duty
from services.errors import Fenced, Permanent, Transient
from services.runtime.bodies import BodyStore
from services.runtime.config import Config
from services.runtime.event_log import Delivery, Recorded
from services.runtime.writer import Writer

BEHIND: Final = 20  # changes that a read model may not have had when it was read


class Deciding:
    """The compactor and the cortex of today, on the log of the past."""

    def __init__(self, past: Past, bodies: BodyStore, config: Config) -> None:
        self._past = past
        self._bodies = bodies
        self._config = config
        self._folds = Folds(past)
        self._around = AroundThen(past.recording)

    async def drive(self, run: Run, asked: Recorded) -> None:
        """Decide anew what was decided with one event.

        What was read a moment before it was appended may have been a little older, so a few
        moments are tried; where none of them leads to the same, the newest tells the difference.

        Raises:
            Diverged: today it would be something else, or nothing.
            Permanent, HistoryMissing: what led to it is not in the recording.
        """
        steps, found = self._past.steps, None
        for view in self._views(run.kind, asked):
            self._past.follow(run.run_id, asked.subject, only=asked.envelope.id)
            self._past.rewind(asked.seq - 1, asked.envelope.at)
            self._past.steps = steps
            view()
            try:
                await self._decide(run.kind, asked)
            except Diverged as diverged:
                found = found or diverged
            else:
                return
        if found is not None:
            raise found

    def _views(self, kind: str, asked: Recorded) -> Iterator[Callable[[], None]]:
        """Yield what was shown when it was decided, the likeliest first."""
        subject = parse(asked.subject)
        if kind in {"compaction", "checkpoint"}:
            yield lambda: None
            cause = cause_of(self._past.recording, asked)
            if cause is not None:  # the open turn may have made a step meanwhile
                yield partial(self._past.show, str(subject.of("turn")), cause.seq)
            return
        yield partial(self._around.show, asked.seq - 1)
        behind = list(islice(self._around.before(subject.tenant), BEHIND))
        yield from (partial(self._around.show, seq) for seq in behind)

    async def _decide(self, kind: str, asked: Recorded) -> None:
        try:
            if kind in {"compaction", "checkpoint"}:
                await self._compact(asked)
            else:
                await self._tend(kind, asked)
        except (Diverged, Stuck):
            raise
        except (AttemptOver, Fenced, Transient):
            pass  # it went on to what is not asked about here
        left = self._past.left_over(asked.subject, asked.seq)
        if left is not None:
            self._past.diverge(left, None)

    async def _compact(self, asked: Recorded) -> None:
        """Look at a conversation as the compactor does."""
        trigger = cause_of(self._past.recording, asked)
        if trigger is None:
            raise Permanent("what led to it is not in the recording")
        subject = parse(asked.subject)
        folds = self._folds.at(subject, asked.seq - 1)
        writer = Writer(self._past, self._past, "compactor")
        try:
            await Compactor(writer, folds, compactor.limits(self._config)).handle(
                Delivery(trigger, 1)
            )
        finally:
            self._folds.reached(subject)

    async def _tend(self, kind: str, asked: Recorded) -> None:
        """Look after an agent as the cortex does."""
        where = parse(asked.subject)
        pulse = Pulse(tenant=where.tenant, agent=where.agent or "", seq=asked.seq - 1)
        await self._duty(kind).look(pulse, asked.envelope.at)

    def _duty(self, kind: str) -> Duty:
        writer, settings = Writer(self._past, self._past, "cortex"), self._config.cortex
        match kind:
            case "day":
                return DaysKept(writer, self._around, settings)
            case "briefing":
                return Briefer(writer, self._bodies, self._around, settings)
            case _:
                nowhere = cast("Any", Nowhere())
                return Knowledge(writer, self._bodies, self._around, nowhere, settings, nowhere)
