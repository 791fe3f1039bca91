"""Reservations of any number of processes, some of which die: no limit is ever passed."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import data, floats, integers, sampled_from

from schemas.base import RunId
from schemas.run import Usage
from schemas.spend import Shortage, SpendReserved, SpendSettled
from services.errors import LogUnavailable
from services.runtime.budgets import spending
from services.runtime.budgets.spending import Ask, Reservation, Spending
from services.runtime.writer import Writer
from tests.contracts.spending import SpendingContract
from tests.support.budgets import SPEND, budget, reserved
from tests.support.builders import SECOND, START
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog
from tests.support.replicas import FakePrices

RUN = "evt.acme.atlas.portal.general.turn._"
JOB = "evt.acme.atlas.cron.digest.turn._"


@dataclass
class World:
    """A log, and processes that reserve on it."""

    budgets: tuple
    log: FakeLog = field(default_factory=FakeLog)
    clock: FakeClock = field(default_factory=FakeClock)
    prices: FakePrices = field(default_factory=FakePrices)

    def process(self, **options) -> Spending:
        return Spending(Writer(self.log, self.clock, "test"), self.budgets, self.prices, **options)

    def events(self, kind):
        return [it.event for it in self.log.events if isinstance(it.event, kind)]


def ask(run="t1", step=1, *, tokens=100) -> Ask:
    return Ask(RunId(run), step, "scripted/one", tokens // 2, tokens // 2)


async def settle(world, reservation, usage=None):
    append = reservation.settled(usage)
    await world.log.append(append.subject, append.envelope)


async def test_a_call_that_no_budget_covers_leaves_no_trace():
    world = World((budget(calls=0, agent="bob"), budget(calls=0, tenant="globex")))
    assert await world.process().reserve(RUN, ask()) is None
    assert world.log.events == []


async def test_a_reservation_says_whose_it_is():
    world = World((budget(usd=1.0),))
    await world.process().reserve(JOB, ask())
    (event,) = world.events(SpendReserved)
    assert (event.agent, event.job, event.day) == ("atlas", "digest", "2023-11-14")
    assert (event.tokens, event.usd) == (100, 0.1)
    assert world.log.events[0].subject == str(SPEND)


async def test_whoever_takes_a_run_over_finds_its_reservation():
    world = World((budget(calls=1),))
    first = await world.process().reserve(RUN, ask())
    other = await world.process().reserve(RUN, ask())
    assert isinstance(other, Reservation)
    assert other.event == first.event
    assert len(world.events(SpendReserved)) == 1


async def test_a_process_that_lags_finds_it_too():
    world = World((budget(calls=3),))
    lags, other = world.process(), world.process()
    await lags.reserve(RUN, ask("t0"))
    await other.reserve(RUN, ask("t1"))
    await other.reserve(RUN, ask("t2"))
    assert isinstance(await lags.reserve(RUN, ask("t2")), Reservation)
    assert len(world.events(SpendReserved)) == 3


async def test_what_nobody_counted_counts_as_it_was_reserved():
    world = World((budget(usd=1.0, tokens=1_000),))
    process = world.process()
    await settle(world, await process.reserve(RUN, ask()), Usage())
    (event,) = world.events(SpendSettled)
    assert (event.usd, event.tokens, event.calls) == (0.1, 100, 1)


async def test_a_call_waits_for_others_to_free_what_they_do_not_use():
    world = World((budget(usd=0.15),))
    process = world.process()
    held = await process.reserve(RUN, ask("t1"))

    async def others_answer():
        await settle(world, held, Usage(input=5, output=5, cost_usd=0.02))
        world.clock.during_sleep = None

    world.clock.during_sleep = others_answer
    assert isinstance(await process.reserve(RUN, ask("t2")), Reservation)


async def test_it_does_not_wait_for_ever_for_one_that_died():
    world = World((budget(usd=0.15),))
    await world.process().reserve(RUN, ask("t1"))
    found = await world.process().reserve(RUN, ask("t2"))
    assert isinstance(found, Shortage)
    assert sum(world.clock.slept) == pytest.approx(spending.HOLD_S, abs=2)


async def test_it_does_not_wait_where_waiting_cannot_help():
    world = World((budget(usd=0.15),))
    process = world.process()
    await settle(world, await process.reserve(RUN, ask("t1")), Usage(input=1, cost_usd=0.1))
    assert isinstance(await process.reserve(RUN, ask("t2")), Shortage)
    assert world.clock.slept == []


async def test_a_refusal_is_never_decided_on_old_knowledge():
    world = World((budget(usd=0.15),))
    looks, other = world.process(), world.process()
    held = await looks.reserve(RUN, ask("t1"))
    await other.newest("acme")
    append = held.settled(None)
    await world.log.append(append.subject, append.envelope)
    assert isinstance(await other.reserve(RUN, ask("t2")), Reservation)
    assert world.clock.slept == []


async def test_a_model_without_a_price_is_refused_where_money_is_limited():
    world = World((budget(usd=1.0),))
    world.prices.usd = None
    found = await world.process().reserve(RUN, ask())
    assert found.unpriced == "scripted/one"
    assert world.log.events == []


async def test_or_it_counts_as_free_where_that_was_said():
    world = World((budget(usd=1.0),))
    world.prices.usd = None
    found = await world.process(unpriced_is_free=True).reserve(RUN, ask())
    assert found.event.usd == 0.0


async def test_nobody_asks_for_a_price_where_only_tokens_are_limited():
    world = World((budget(tokens=1_000),))
    world.prices.usd = None
    assert isinstance(await world.process().reserve(RUN, ask()), Reservation)


async def test_it_waits_out_a_log_that_is_away():
    world = World((budget(calls=1),))
    failures = [LogUnavailable("away")] * 3

    def away(subject):
        if failures:
            raise failures.pop()

    world.log.before_append = away
    assert isinstance(await world.process().reserve(RUN, ask()), Reservation)


async def test_a_month_has_a_stream_of_its_own():
    world = World((budget(calls=1, per="month"),))
    process = world.process()
    await process.reserve(RUN, ask("t1"))
    world.clock.advance(20 * 86_400)
    assert isinstance(await process.reserve(RUN, ask("t2")), Reservation)
    assert {it.subject for it in world.log.events} == {
        str(SPEND),
        "evt.acme._._._.spend.2023-12",
    }


async def test_an_erased_tenant_begins_anew():
    world = World((budget(calls=1),))
    process = world.process()
    await process.reserve(RUN, ask("t1"))
    world.log.events.clear()
    envelope = process._writer.seal(reserved())  # somebody else's event, so that sequences go on
    await world.log.append("evt.globex._._._.spend.2023-11", envelope)
    assert isinstance(await process.reserve(RUN, ask("t2")), Reservation)


async def test_fifty_calls_at_once_in_five_processes_get_ten_reservations():
    world = World((budget(calls=10),))
    processes = [world.process() for _ in range(5)]
    found = await asyncio.gather(*(processes[n % 5].reserve(RUN, ask(f"t{n}")) for n in range(50)))
    assert sum(isinstance(it, Reservation) for it in found) == 10
    assert len(world.events(SpendReserved)) == 10


class Interleaving(RuleBasedStateMachine):
    """Processes that reserve, die, are resumed by others, and settle, in any order."""

    LIMIT = 1.0

    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        self.world = World((budget(usd=self.LIMIT),))
        self.processes = [self.world.process() for _ in range(3)]
        self.held: dict[str, Reservation] = {}
        self.owned_by: dict[str, int] = {}
        self.answered: dict[str, float] = {}
        self.orphans: set[str] = set()
        self.runs = 0

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def teardown(self):
        self.loop.close()

    @rule(at=integers(0, 2), usd=floats(0.01, 0.6))
    def reserve(self, at, usd):
        self.world.prices.usd = usd
        self.runs += 1
        run = f"t{self.runs}"
        found = self.do(self.processes[at].reserve(RUN, ask(run)))
        if isinstance(found, Reservation):
            self.held[run], self.owned_by[run] = found, at
        else:
            assert found.spent + found.held + found.needs > self.LIMIT

    @rule(at=integers(0, 2))
    def die(self, at):
        self.processes[at] = self.world.process()
        dead = {run for run, owner in self.owned_by.items() if owner == at}
        self.orphans |= dead
        for run in dead:
            del self.owned_by[run]

    @rule(choose=data(), at=integers(0, 2))
    def resume(self, choose, at):
        if self.orphans:
            run = choose.draw(sampled_from(sorted(self.orphans)))
            before = len(self.world.log.events)
            found = self.do(self.processes[at].reserve(RUN, ask(run)))
            assert isinstance(found, Reservation)
            assert len(self.world.log.events) == before, "a resumed call is not reserved twice"
            self.orphans.discard(run)
            self.held[run], self.owned_by[run] = found, at

    @rule(choose=data(), share=floats(0, 1), failed=sampled_from([True, False]))
    def answer(self, choose, share, failed):
        if self.owned_by:
            run = choose.draw(sampled_from(sorted(self.owned_by)))
            reservation = self.held.pop(run)
            del self.owned_by[run]
            used = 0.0 if failed else reservation.event.usd * share
            usage = None if failed else Usage(input=1, output=1, cost_usd=used)
            self.do(settle(self.world, reservation, usage))
            self.answered[run] = used

    @invariant()
    def no_limit_is_passed_and_no_settlement_lost(self):
        ledger = self.do(self.processes[0].newest("acme"))
        used = ledger.used("2023-11-14", None, None)
        assert used.spent["usd"] + used.held["usd"] <= self.LIMIT * 1_000_000_000
        assert used.spent["usd"] == pytest.approx(sum(self.answered.values()) * 1e9, abs=1_000)
        held = sum(it.event.usd for it in self.held.values())
        assert used.held["usd"] == pytest.approx(held * 1e9, abs=1_000)


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_the_clock_of_these_tests_is_where_they_think():
    assert START // (86_400 * SECOND) * 86_400 == 1_699_920_000  # 2023-11-14


class TestSpendingOnTheFake(SpendingContract):
    @pytest.fixture
    def log(self):
        return FakeLog()
