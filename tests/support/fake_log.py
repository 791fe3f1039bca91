"""The log in a list, for unit tests; passes the same contract as the one on JetStream."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress

from schemas.base import BodyRef
from schemas.envelope import Envelope, encode
from schemas.subjects import matches
from services.errors import Conflict, Permanent
from services.runtime.bodies import TEXT, reference
from services.runtime.consumer import Verdict, settle
from services.runtime.event_log import Append, Delivery, Handler, Recorded
from services.runtime.recording import record


class FakeLog:
    """Everything in memory; redelivers what a handler gave up, at once."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self.purged: set[int] = set()
        self.before_append: Callable[[str], None] | None = None
        self._ids: dict[str, int] = {}
        self._grown = asyncio.Condition()
        self._positions: dict[str, int] = {}
        self._returned: dict[str, list[tuple[int, int]]] = {}

    def purge(self, pattern: str) -> None:
        """Erase what a pattern selects, as an administrator does."""
        self.purged |= {it.seq for it in self.events if matches(pattern, it.subject)}

    def _there(self, after: int = 0, until: int | None = None) -> list[Recorded]:
        events = self.events[after:until]
        return [it for it in events if it.seq not in self.purged] if self.purged else events

    async def append(self, subject: str, envelope: Envelope) -> int:
        return await self._store([Append(subject, envelope)])

    async def append_if(self, subject: str, expected: int, envelope: Envelope) -> int:
        return await self._store([Append(subject, envelope, expected)])

    async def append_batch(self, appends: Sequence[Append]) -> int:
        return await self._store(appends)

    async def _store(self, appends: Sequence[Append]) -> int:
        await asyncio.sleep(0)
        for append in appends:
            if self.before_append is not None:
                self.before_append(append.subject)
        known = [append for append in appends if append.envelope.id in self._ids]
        if len(known) == len(appends):
            return self._ids[appends[-1].envelope.id]
        if known:
            raise Conflict(known[0].subject, expected=0, actual=self._last_seq(known[0].subject))
        for append in appends:
            found = self._last_seq(append.subject)
            if append.expected not in {None, found}:
                raise Conflict(append.subject, expected=append.expected or 0, actual=found)
        for append in appends:
            body = encode(append.envelope)
            self.events.append(record(len(self.events) + 1, append.subject, body))
            self._ids[append.envelope.id] = len(self.events)
        async with self._grown:
            self._grown.notify_all()
        return len(self.events)

    def _last_seq(self, pattern: str) -> int:
        if "*" not in pattern and ">" not in pattern:
            found = (it.seq for it in reversed(self.events) if it.subject == pattern)
            return next((seq for seq in found if seq not in self.purged), 0)
        return max((e.seq for e in self._there() if matches(pattern, e.subject)), default=0)

    async def read(
        self, pattern: str, *, after: int = 0, until: int | None = None, fresh: bool = False
    ) -> AsyncIterator[Recorded]:
        await asyncio.sleep(0)
        for recorded in self._there(after, until):
            if matches(pattern, recorded.subject):
                yield recorded

    async def last(self, pattern: str, *, fresh: bool = False) -> Recorded | None:
        await asyncio.sleep(0)
        seq = self._last_seq(pattern)
        return self.events[seq - 1] if seq else None

    async def tail(self, pattern: str, *, after: int = 0) -> AsyncIterator[Recorded]:
        while True:
            for recorded in self.events[after:]:
                after = recorded.seq
                if recorded.seq not in self.purged and matches(pattern, recorded.subject):
                    yield recorded
            async with self._grown:
                if len(self.events) <= after:
                    await self._grown.wait()

    async def consume(
        self,
        durable: str,
        patterns: Collection[str],
        handle: Handler,
        *,
        types: Collection[str] | None = None,
        concurrency: int = 64,
        stop: asyncio.Event | None = None,
    ) -> None:
        background: set[asyncio.Task[None]] = set()
        slots = asyncio.Semaphore(concurrency)
        stopping = asyncio.create_task((stop or asyncio.Event()).wait())
        getting = stopping
        try:
            while True:
                await slots.acquire()
                getting = asyncio.create_task(self._next(durable, patterns, types))
                await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    await asyncio.gather(*background)
                    return
                seq, attempt = getting.result()
                task = asyncio.create_task(self._hand(durable, seq, attempt, handle))
                background.add(task)
                task.add_done_callback(background.discard)
                task.add_done_callback(lambda _: slots.release())
        finally:
            stopping.cancel()
            getting.cancel()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _next(self, durable, patterns, types) -> tuple[int, int]:
        while True:
            if returned := self._returned.get(durable):
                return returned.pop(0)
            for recorded in self.events[self._positions.get(durable, 0) :]:
                self._positions[durable] = recorded.seq
                if any(matches(pattern, recorded.subject) for pattern in patterns) and (
                    types is None or recorded.envelope.type in types
                ):
                    return recorded.seq, 1
            async with self._grown:
                if not self._returned.get(durable) and self._positions.get(durable, 0) >= len(
                    self.events
                ):
                    await self._grown.wait()

    async def _hand(self, durable: str, seq: int, attempt: int, handle: Handler) -> None:
        verdict = Verdict("again")
        try:
            delivery = Delivery(self.events[seq - 1], attempt)
            verdict = await settle(self, durable, delivery, handle)
        finally:
            if verdict.action == "again":
                self._returned.setdefault(durable, []).append((seq, attempt + 1))
                with suppress(RuntimeError):
                    async with self._grown:
                        self._grown.notify_all()


class FakeBodies:
    """Bodies in a dictionary."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    async def put(self, body: bytes, *, media_type: str = TEXT) -> BodyRef:
        ref = reference(body, media_type)
        self.bodies[ref.sha256] = body
        return ref

    async def get(self, ref: BodyRef) -> bytes:
        if ref.sha256 not in self.bodies:
            raise Permanent(f"body {ref.sha256} is not in the store")
        return self.bodies[ref.sha256]
