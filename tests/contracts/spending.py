"""What reservations promise on any log. Subclass it and provide the `log` fixture."""

import asyncio
from itertools import count

import pytest

from schemas.base import RunId
from schemas.run import Usage
from schemas.spend import Shortage, SpendReserved
from services.runtime.budgets.budget import Budget
from services.runtime.budgets.spending import Ask, Reservation, Spending
from services.runtime.clock import SystemClock
from services.runtime.ids import new
from services.runtime.writer import Writer
from tests.support.replicas import FakePrices, FakeSnapshots

numbers = count(1)


class Foreign(FakeSnapshots):
    """Snapshots that somebody else made."""

    def __init__(self, saved) -> None:
        super().__init__()
        self.foreign = saved

    async def load(self, key):
        return self.foreign


class SpendingContract:
    """Promises of `services.runtime.budgets.spending.Spending`."""

    @pytest.fixture
    def tenant(self):
        return f"t{new()[-12:]}"

    def process(self, log, tenant, *, snapshots=None, **limits):
        budgets = (Budget("team", tenant, **limits),)
        writer = Writer(log, SystemClock(), "test")
        return Spending(writer, budgets, FakePrices(), snapshots=snapshots)

    async def reserve(self, process, tenant, run=None):
        ask = Ask(RunId(run or f"r{next(numbers)}"), 1, "scripted/one", 50, 50)
        return await process.reserve(f"evt.{tenant}.a.portal.general.turn._", ask)

    async def settle(self, log, reservation, **usage):
        append = reservation.settled(Usage(**usage) if usage else None)
        await log.append(append.subject, append.envelope)

    async def test_any_number_of_processes_pass_no_limit_together(self, log, tenant):
        processes = [self.process(log, tenant, calls=10) for _ in range(5)]

        async def one(number):
            found = await self.reserve(processes[number % 5], tenant)
            if isinstance(found, Reservation):
                await self.settle(log, found, input=5, output=5, cost_usd=0.01)
            return found

        found = await asyncio.gather(*(one(number) for number in range(50)))
        assert sum(isinstance(it, Reservation) for it in found) == 10
        assert sum(isinstance(it, Shortage) for it in found) == 40
        ledger = await processes[0].newest(tenant)
        assert ledger.open == {}

    async def test_a_reservation_is_found_by_whoever_takes_over(self, log, tenant):
        first = await self.reserve(self.process(log, tenant, calls=1), tenant, "taken")
        again = await self.reserve(self.process(log, tenant, calls=1), tenant, "taken")
        assert again.event == first.event
        subject = first.book.subject
        stored = [it.event async for it in log.read(subject, fresh=True)]
        assert [type(it) for it in stored] == [SpendReserved]

    async def test_what_is_settled_elsewhere_is_seen_here(self, log, tenant):
        here, there = self.process(log, tenant, usd=0.15), self.process(log, tenant, usd=0.15)
        held = await self.reserve(there, tenant)
        await here.newest(tenant)
        await self.settle(log, held)
        assert isinstance(await self.reserve(here, tenant), Reservation)

    async def test_a_new_process_goes_on_from_a_snapshot(self, log, tenant, monkeypatch):
        monkeypatch.setattr("services.runtime.budgets.spending.SNAPSHOT_EVERY", 4)
        snapshots = FakeSnapshots()
        old = self.process(log, tenant, snapshots=snapshots, calls=5)
        for _ in range(4):
            held = await self.reserve(old, tenant)
            await self.settle(log, held, input=1, output=1, cost_usd=0.02)
        left = await self.reserve(old, tenant, "left open")
        assert len(snapshots.saved) == 1
        new_one = self.process(log, tenant, snapshots=snapshots, calls=5)
        ledger = await new_one.newest(tenant)
        fresh = await self.process(log, tenant, calls=5).newest(tenant)
        assert ledger.saved() == fresh.saved()
        assert ledger.open == {left.event.reservation: left.event}
        assert isinstance(await self.reserve(new_one, tenant, "left open"), Reservation)

    async def test_a_snapshot_of_another_log_or_shape_is_not_believed(self, log, tenant):
        process = self.process(log, tenant, calls=1)
        held = await self.reserve(process, tenant)
        real = (await process.newest(tenant)).saved()
        for saved in (b"{}", real.replace(held.book.ledger.at.encode(), b"another")):
            other = self.process(log, tenant, snapshots=Foreign(saved), calls=1)
            assert (await other.newest(tenant)).saved() == real
