"""Watch conversations, and have what is too long compacted.

Consumes:  the ends of turns, checkpoints
Emits:     compaction requests, and checkpoints without a summary in an emergency
Never:     calls a model, blocks a channel
"""

from typing import Final

from schemas.base import RunId
from schemas.channel import ChannelEvent, CompactionRequested
from schemas.subjects import Subject, matching, parse
from services.compactor import summary, usage
from services.compactor.decider import Limits, Part, decide
from services.compactor.usage import Counted
from services.errors import Conflict
from services.runtime import ids
from services.runtime.conversation import Conversation
from services.runtime.conversations import Conversations
from services.runtime.event_log import Delivery
from services.runtime.writer import Writer

DURABLE: Final = "compactor"  # names our read position in the log: never rename
PATTERN: Final = matching(entity="channel")
TRIGGERS: Final = frozenset({"turn_completed", "turn_failed", "checkpoint_cut"})
SURROUNDINGS_SHARE: Final = 0.5  # of the window, most that prompt and tools reasonably fill
TOKENS_PER_ESTIMATED: Final = 4  # most that a provider may count where we estimate one


class Compactor:
    """Looks at a conversation whenever a turn has ended; any number of replicas share the work."""

    def __init__(self, writer: Writer, folds: Conversations, limits: Limits) -> None:
        """Take folds that forget nothing: `Conversations(…, keep=EVERYTHING)`."""
        self._writer = writer
        self._folds = folds
        self._limits = limits

    async def handle(self, delivery: Delivery) -> None:
        """Do what is due in a conversation; safe to repeat.

        Raises:
            LogUnavailable: the delivery should come again.
        """
        recorded = delivery.recorded
        subject = parse(recorded.subject)
        state = await self._folds.at_least(subject, recorded.seq)
        while True:
            count = await self._counted(subject, state)
            part = decide(state, count, self._limits, now=self._writer.clock.now())
            if part is None:
                return
            # One thing can be decided on one state: whoever repeats this finds that it is done.
            key = ids.derived("compaction", str(subject), state.at or "")
            envelope = self._writer.seal(
                _event(part, RunId(key)),
                id=ids.derived("decided", key),
                cause=recorded.envelope.id,
                turn=recorded.envelope.turn,
            )
            try:
                seq = await self._writer.log.append_if(str(subject), state.seq, envelope)
            except Conflict:
                state = await self._folds.newest(subject)
            else:
                await self._folds.at_least(subject, seq)  # so that nobody here decides it again
                return  # a checkpoint, when it is cut, makes us look again

    async def _counted(self, subject: Subject, state: Conversation) -> Counted | None:
        """Return what a provider counted for the newest turn, where it can matter.

        It cannot where the history is small beside the window: were it full nevertheless, it would
        be of what surrounds the history, and no checkpoint could help.
        """
        most = TOKENS_PER_ESTIMATED * usage.of_history(state)
        small = (self._limits.background - SURROUNDINGS_SHARE) * self._limits.window_tokens
        if most < small or not state.turn_seq:
            return None
        steps = self._writer.log.read(str(subject.of("turn")), after=state.turn_seq, fresh=True)
        return usage.counted([recorded async for recorded in steps])


def _event(part: Part, run_id: RunId) -> ChannelEvent:
    if part.kind == "emergency":
        return summary.emergency(part)
    return CompactionRequested(
        run_id=run_id,
        after=part.after,
        until=part.until,
        kind=part.kind,
        sources=tuple(one.id for one in part.sources),
        level=part.level,
    )
