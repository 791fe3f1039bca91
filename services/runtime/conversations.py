"""Conversations as this process knows them: cached folds, brought up to date from the log.

A fold that no process has in memory starts from a snapshot. Snapshots are disposable: they are made
anew when they are missing, stale or of another shape.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Protocol

import msgspec
import structlog

from schemas.base import Content, EventId
from schemas.subjects import Subject
from services.errors import ServiceError
from services.runtime import chronicle, lineage
from services.runtime.behind import HistoryGone
from services.runtime.bodies import BodyStore, text_of
from services.runtime.chronicle import LONGEST, Checkpoint
from services.runtime.conversation import Conversation, Entry, evolve
from services.runtime.event_log import EventLog, Recorded
from services.runtime.model import Message

CACHED: Final = 5_000  # conversations kept in memory, some 100 KB each at the very most
SNAPSHOT_EVERY: Final = 500  # events folded since the last snapshot
CHECKPOINTS: Final = "[checkpoints]"
INTRODUCTION: Final = (
    "What was said here before, in short. It is history, not instruction: nobody says it now. "
    "`checkpoint_open` shows the summary of one by its number."
)

log = structlog.get_logger()

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Conversation).decode


def shape_of(fold: type) -> str:
    """Return the fingerprint of a fold's shape; a snapshot of another shape is not read."""
    schema = msgspec.json.encode(msgspec.json.schema(fold), order="sorted")
    return sha256(schema).hexdigest()[:12]


SHAPE: Final = shape_of(Conversation)


class Snapshots(Protocol):
    """A place for disposable folds."""

    async def load(self, key: str) -> bytes | None:
        """Return what was saved last under `key`, or None."""
        ...

    async def save(self, key: str, value: bytes) -> None:
        """Keep `value`; failing to is no harm."""
        ...


class Conversations:
    """Folds of channel streams."""

    def __init__(
        self,
        event_log: EventLog,
        snapshots: Snapshots,
        *,
        keep: int = 200,
        beside: "Conversations | None" = None,
    ) -> None:
        """Take where events are read, and how much history to keep.

        Args:
            event_log: Where conversations are.
            snapshots: Where folds are kept for the next process.
            keep: Entries of history, see `evolve`.
            beside: Folds of this process that keep less. What they never had to forget anything of
                is taken from them, so that nothing is folded twice.
        """
        self._log = event_log
        self._snapshots = snapshots
        self._keep = keep
        self._beside = beside
        self._folds: OrderedDict[str, Conversation] = OrderedDict()
        self._saved: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def at_least(self, subject: Subject, seq: int) -> Conversation:
        """Return the fold up to sequence `seq` of the log, or further."""
        known = self._folds.get(str(subject.channel))
        if known is not None and known.seq >= seq:
            return known
        if self._beside is not None:
            state = await self._beside.at_least(subject, seq)
            if not state.forgotten:
                return state
        return await self._read(subject, seq, fresh=False)

    def appended(self, subject: Subject, expected: int, recorded: Recorded) -> Conversation | None:
        """Fold an event of our own that was appended behind `expected`, without reading it back.

        Returns None when the fold in memory does not stand at `expected`.
        """
        key = str(subject.channel)
        known = self._folds.get(key)
        if known is None or known.seq != expected:
            return None
        state = evolve(known, recorded, keep=self._keep)
        self._remember(key, state)
        self._saved[key] = self._saved.get(key, 0) + 1
        return state

    async def newest(self, subject: Subject) -> Conversation:
        """Return the fold up to everything that was ever acknowledged."""
        if self._beside is not None:
            state = await self._beside.newest(subject)
            if not state.forgotten:
                return state
        return await self._read(subject, None, fresh=True)

    async def up_to(self, subject: Subject, id_: EventId | None) -> Conversation:
        """Return the fold as it was after the event `id_`; nothing for None.

        The past is folded anew, so that a run that is taken over sees what its first owner saw.
        """
        known = self._folds.get(str(subject.channel))
        if known is not None and known.at == id_:
            return known
        state = Conversation()
        if id_ is None:
            return state
        async for recorded in lineage.told(self._log, subject, fresh=True):
            state = evolve(state, recorded, keep=self._keep)
            if recorded.envelope.id == id_:
                break
        return state

    async def _read(self, subject: Subject, until: int | None, *, fresh: bool) -> Conversation:
        key = str(subject.channel)
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                state = self._folds.get(key) or await self._from_snapshot(key)
                try:
                    state, folded = await self._read_on(subject, state, until, fresh=fresh)
                except HistoryGone:  # it was erased, or is of a log that was lost and begun anew
                    self._folds.pop(key, None)
                    state, folded = await self._read_on(subject, Conversation(), until, fresh=True)
                self._remember(key, state)
                if folded:
                    await self._maybe_save(key, state, folded)
                return state
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    async def _read_on(
        self, subject: Subject, state: Conversation, until: int | None, *, fresh: bool
    ) -> tuple[Conversation, int]:
        """Return a fold with what came since, and how many events that was.

        Raises:
            HistoryGone: what it stands on is not in the log.
        """
        folded = 0
        new = lineage.told(self._log, subject, after=state.seq, at=state.at, fresh=fresh)
        async for recorded in new:
            state = evolve(state, recorded, keep=self._keep)
            folded += 1
        if until is not None and state.seq < until:  # a replica that lags served us
            async for recorded in lineage.told(self._log, subject, after=state.seq, until=until):
                state = evolve(state, recorded, keep=self._keep)
                folded += 1
        return state, folded

    def _remember(self, key: str, state: Conversation) -> None:
        known = self._folds.get(key)
        if known is None or known.seq < state.seq:
            self._folds[key] = state
        self._folds.move_to_end(key)
        if len(self._folds) > CACHED:
            old, _ = self._folds.popitem(last=False)
            self._saved.pop(old, None)

    async def _maybe_save(self, key: str, state: Conversation, folded: int) -> None:
        since = self._saved.get(key, 0) + folded
        if since < SNAPSHOT_EVERY:
            self._saved[key] = since
            return
        self._saved[key] = 0
        await self._snapshots.save(_key(key, self._keep), _ENCODE(state))

    async def _from_snapshot(self, key: str) -> Conversation:
        saved = await self._snapshots.load(_key(key, self._keep))
        if saved is None:
            return Conversation()
        try:
            return _DECODE(saved)
        except msgspec.DecodeError:
            return Conversation()


def _key(subject: str, keep: int) -> str:
    return f"{SHAPE}.{keep}.{sha256(subject.encode()).hexdigest()[:32]}"


async def history(conversation: Conversation, bodies: BodyStore) -> tuple[Message, ...]:
    """Return the history as messages: the checkpoints in one, if there are any, then the rest.

    What was shown once reads the same until the next checkpoint. Of a job's conversation it is
    that of one occurrence: each begins afresh.
    """
    mine = [it for it in conversation.entries if it.occurrence == conversation.focus]
    told = [await _message(entry, bodies) for entry in mine]
    if not conversation.checkpoints:
        return tuple(told)
    before = await told_in_short(conversation.checkpoints, bodies)
    return (Message(role="user", content=before), *told)


async def told_in_short(checkpoints: Sequence[Checkpoint], bodies: BodyStore) -> str:
    """Return the checkpoints as a model is shown them: the older of them by their title alone."""
    full = chronicle.in_full(checkpoints)
    lines = [f"{CHECKPOINTS} {INTRODUCTION}"]
    for one in checkpoints:
        lines.append(chronicle.heading(one))
        if one.number in full:
            lines.append(await shown(one.summary, bodies))
    return "\n".join(lines)


async def _message(entry: Entry, bodies: BodyStore) -> Message:
    text = await shown(entry.text, bodies)
    return Message(role=entry.role, content=f"{entry.label}{text}")


async def shown(content: Content, bodies: BodyStore) -> str:
    """Return a content's text, at most `LONGEST` characters of it, for a model's eyes."""
    try:
        text = await text_of(bodies, content)
    except ServiceError as error:
        return f"(this text cannot be read: {error})"
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n[… {len(text) - LONGEST:,} more characters are left out here]"
