"""Reserve what a model call may use before it is made, and settle it afterwards.

Consumes:  spend streams
Emits:     spend_reserved by compare-and-append; spend_settled together with the answer
Never:     touches a call that no budget covers, or the database
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol

import msgspec
import structlog

from schemas.base import RunId
from schemas.run import Usage
from schemas.spend import Shortage, SpendReserved, SpendSettled
from schemas.subjects import Subject, parse
from services.errors import Conflict, LogFull, LogUnavailable
from services.runtime import days, ids
from services.runtime.budgets.budget import Budget, job_of, month
from services.runtime.budgets.decider import Calendar, decide, may_pass, unpriced, used_up
from services.runtime.budgets.ledger import SHAPE, Ledger, reserved
from services.runtime.budgets.standing import Standing, standings
from services.runtime.conversations import Snapshots
from services.runtime.event_log import Append, Recorded
from services.runtime.writer import Writer

HOLD_S: Final = 20.0  # longest wait for calls under way to free what they do not use
AGAIN_S: Final = 1.0
SNAPSHOT_EVERY: Final = 1_000  # events read since the last one
PATIENCE_S: Final = 600.0  # a call waits this long for an absent log, as a journal does

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ask:
    """A model call that is about to be made."""

    run_id: RunId
    step: int
    model: str
    input_tokens: int
    """At most."""
    output_tokens: int
    """At most."""


class Prices(Protocol):
    """What models cost."""

    async def most(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """Return US dollars that a call may cost, fallbacks included; None where nobody knows."""
        ...


class Reserving(Protocol):
    """Where model calls are reserved."""

    async def reserve(self, subject: str, ask: Ask) -> "Reservation | Shortage | None":
        """Hold what a call may use at most, or say which budget has no room; see `Spending`."""
        ...


@dataclass(slots=True)
class Book:
    """One month of one tenant, as this process knows it."""

    subject: str
    ledger: Ledger = field(default_factory=Ledger)
    behind: bool = True
    """Whether there is something on the log that the ledger lacks, as far as we know."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unsaved: int = 0
    """Events read since the ledger was last saved."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is held for one model call."""

    event: SpendReserved
    book: Book
    writer: Writer

    def settled(self, usage: Usage | None) -> Append:
        """Return the event by which what was used counts instead; None for a call that failed.

        What nobody has counted, or knows the price of, counts as it was reserved.
        """
        self.book.behind = True
        settled = SpendSettled(reservation=self.event.reservation)
        if usage is not None:
            settled = SpendSettled(
                reservation=self.event.reservation,
                usd=self.event.usd if usage.cost_usd is None else usage.cost_usd,
                tokens=usage.input + usage.output or self.event.tokens,
                calls=1,
            )
        return Append(self.book.subject, self.writer.seal(settled))


class Spending:
    """The budgets of an installation, for one process of it."""

    def __init__(
        self,
        writer: Writer,
        budgets: Sequence[Budget],
        prices: Prices,
        *,
        zone: str = "UTC",
        unpriced_is_free: bool = False,
        snapshots: Snapshots | None = None,
    ) -> None:
        """Take budgets, and what they need.

        Args:
            writer: Writes reservations.
            budgets: All that there are.
            prices: What models cost at most.
            zone: Time zone in which days and months begin, by its IANA name.
            unpriced_is_free: Whether models without a known price count as costing nothing.
            snapshots: Where ledgers are kept for the next process; None for nowhere.
        """
        self._snapshots = snapshots
        self._writer = writer
        self._budgets = budgets
        self._prices = prices
        self._calendar = Calendar(days.zone(zone), zone)
        self._unpriced_is_free = unpriced_is_free
        self._books: dict[str, Book] = {}

    async def reserve(self, subject: str, ask: Ask) -> Reservation | Shortage | None:
        """Hold what a call may use at most, unless a budget has no room for it.

        A call of the same run and step that was reserved before, by an owner that died, has its
        reservation already.

        Args:
            subject: The stream of the run.
            ask: The call.

        Returns:
            None where no budget covers it.

        Raises:
            LogUnavailable, LogFull: it cannot be reserved now, so it must not be made.
        """
        place = parse(subject)
        agent, job = place.agent or "", job_of(place)
        budgets = [one for one in self._budgets if one.covers(place.tenant, agent, job)]
        if not budgets:
            return None
        clock = self._writer.clock
        usd = await self._price(budgets, ask)
        if isinstance(usd, Shortage):
            return usd
        began = clock.monotonic()
        while True:
            now = clock.now()
            wanted = SpendReserved(
                reservation=ids.derived("spend", ask.run_id, str(ask.step)),
                run_id=ask.run_id,
                step=ask.step,
                agent=agent,
                day=days.day_of(now, self._calendar.zone).isoformat(),
                model=ask.model,
                tokens=ask.input_tokens + ask.output_tokens,
                usd=usd,
                job=job,
            )
            try:
                found = await self._try(place.tenant, budgets, wanted, now)
            except (LogUnavailable, LogFull) as error:
                if clock.monotonic() - began > PATIENCE_S:
                    raise
                log.warning("spending.waiting", run=ask.run_id, reason=str(error))
            else:
                waits = isinstance(found, Shortage) and may_pass(found)
                if not waits or clock.monotonic() - began > HOLD_S:
                    return found
            await clock.sleep(AGAIN_S)

    async def _price(self, budgets: Sequence[Budget], ask: Ask) -> float | Shortage:
        in_dollars = next((one for one in budgets if one.usd is not None), None)
        if in_dollars is None:
            return 0.0
        usd = await self._prices.most(ask.model, ask.input_tokens, ask.output_tokens)
        if usd is not None:
            return usd
        if self._unpriced_is_free:
            return 0.0
        now = self._writer.clock.now()
        return unpriced(in_dollars, ask.model, at=now, calendar=self._calendar)

    async def _try(
        self, tenant: str, budgets: Sequence[Budget], event: SpendReserved, now: int
    ) -> Reservation | Shortage:
        """Reserve on everything that was ever acknowledged, or find that there is no room."""
        book, needs = self._book(tenant, now), reserved(event)
        async with book.lock:  # every conflict costs reads: we do not compete with ourselves
            is_fresh = book.behind
            if is_fresh:
                await self._catch_up(book)
            while True:
                ledger = book.ledger
                known = ledger.open.get(event.reservation)
                if known is not None:
                    return Reservation(known, book, self._writer)
                short = decide(ledger, budgets, needs, at=now, calendar=self._calendar)
                if short is not None and is_fresh:
                    return short
                if short is None:
                    # A new id for each try, since the log answers a known one with the sequence
                    # that it once had; that nothing is reserved twice, the ledger sees to.
                    envelope = self._writer.seal(event)
                    try:
                        seq = await self._writer.log.append_if(book.subject, ledger.seq, envelope)
                    except Conflict:
                        pass  # what came is read below, and decided on
                    else:
                        ledger.take(Recorded(seq, book.subject, envelope, event, b""))
                        return Reservation(event, book, self._writer)
                await self._catch_up(book)
                is_fresh = True

    async def _catch_up(self, book: Book) -> None:
        """Fold what others appended; from the beginning, where the stream is not what it was."""
        if book.ledger.seq == 0:
            book.ledger = await self._from_snapshot(book.subject)
        before = book.ledger.seq
        book.behind = False
        try:
            await self._read(book)
            if book.ledger.seq == before and before:
                newest = await self._writer.log.last(book.subject, fresh=True)
                if newest is None or newest.seq < before:  # erased
                    book.ledger = Ledger()
                    await self._read(book)
        except BaseException:
            book.behind = True
            raise

    async def _read(self, book: Book) -> None:
        read = self._writer.log.read(book.subject, after=book.ledger.seq, fresh=True)
        async for recorded in read:
            book.ledger.take(recorded)
            book.unsaved += 1
        if self._snapshots is not None and book.unsaved >= SNAPSHOT_EVERY:
            book.unsaved = 0
            await self._snapshots.save(_key(book.subject), book.ledger.saved())

    async def _from_snapshot(self, subject: str) -> Ledger:
        """Return the ledger as somebody saved it, if the log still has its last event."""
        saved = None if self._snapshots is None else await self._snapshots.load(_key(subject))
        if saved is None:
            return Ledger()
        try:
            ledger = Ledger.restored(saved)
        except msgspec.DecodeError:
            return Ledger()
        last = ledger.seq
        async for recorded in self._writer.log.read(subject, after=last - 1, until=last):
            if recorded.envelope.id == ledger.at:
                return ledger
        return Ledger()  # of a log that was lost and begun anew

    def _book(self, tenant: str, at: int) -> Book:
        """Return the book of a tenant's month; those of other months are closed."""
        subject = subject_of(tenant, month(days.day_of(at, self._calendar.zone)))
        book = self._books.get(tenant)
        if book is None or book.subject != subject:
            book = self._books[tenant] = Book(subject)
        return book

    # -- for those who only look --------------------------------------------------------------

    @property
    def tenants(self) -> Sequence[str]:
        """Return the tenants that have a budget."""
        return sorted({one.tenant for one in self._budgets})

    async def newest(self, tenant: str) -> Ledger:
        """Return the ledger of the current month, up to everything that was acknowledged.

        Raises:
            LogUnavailable: it cannot be read now.
        """
        book = self._book(tenant, self._writer.clock.now())
        async with book.lock:
            await self._catch_up(book)
            return book.ledger

    async def standings(self, tenant: str) -> list[Standing]:
        """Return how the budgets of a tenant stand, limit by limit.

        Raises:
            LogUnavailable: it cannot be known now.
        """
        mine = [one for one in self._budgets if one.tenant == tenant]
        if not mine:
            return []
        ledger, now = await self.newest(tenant), self._writer.clock.now()
        return list(standings(ledger, mine, at=now, calendar=self._calendar))

    def used_up(self, tenant: str, agent: str, job: str, *, at: int) -> Shortage | None:
        """Return a budget without room for a run of a job, as far as was read last, or None."""
        budgets = [one for one in self._budgets if one.covers(tenant, agent, job)]
        if not budgets:
            return None
        ledger = self._book(tenant, at).ledger
        return used_up(ledger, budgets, agent, job, at=at, calendar=self._calendar)


def _key(subject: str) -> str:
    return f"spend.{SHAPE}.{sha256(subject.encode()).hexdigest()[:32]}"


def subject_of(tenant: str, month: str) -> str:
    """Return the spend stream of a tenant's month."""
    return str(Subject(tenant, entity="spend", id=month))
