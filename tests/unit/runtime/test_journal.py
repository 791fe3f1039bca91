"""A run's stream in the hands of its owner: whoever is not the owner any more writes nothing."""

import asyncio

import msgspec
import pytest

from schemas.base import EventId, RunId
from schemas.run import ModelReturned
from schemas.spend import SpendSettled
from services.errors import Fenced, LogFull, LogUnavailable
from services.runtime.event_log import Append
from services.runtime.journal import PATIENCE_S, RETRY_S, Journal
from services.runtime.writer import Writer
from tests.support.builders import (
    RUN,
    call,
    input_received,
    model_called,
    model_returned,
    noted,
    run_ended,
    run_started,
    run_waiting,
)
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog

SUBJECT = "evt.acme.atlas.portal.general.worker.r1"
SPEND = "evt.acme._._._.spend.2023-11"
HOLDER = EventId("e1")


class Bench:
    """One log and the journals of several processes on it."""

    def __init__(self) -> None:
        self.log = FakeLog()
        self.bodies = FakeBodies()
        self.clock = FakeClock()
        self.writer = Writer(self.log, self.clock, "worker")

    def journal(self, owner, *, run=RUN) -> Journal:
        return Journal(self.writer, self.bodies, SUBJECT, RunId(run), owner=owner)

    async def owned(self, owner="one") -> Journal:
        journal = self.journal(owner)
        await journal.load()
        await journal.start(run_started(owner=owner), holder=HOLDER)
        return journal

    async def taken_over(self, owner="two", **resuming) -> Journal:
        journal = self.journal(owner)
        await journal.load()
        await journal.resume(holder=HOLDER, **resuming)
        return journal

    @property
    def types(self):
        return [recorded.envelope.type for recorded in self.log.events]

    def fail(self, error, *, times):
        """Refuse the next appends."""
        left = [times]

        def before(subject):
            if left[0]:
                left[0] -= 1
                raise error

        self.log.before_append = before


@pytest.fixture
def bench():
    return Bench()


# -- owning -----------------------------------------------------------------------------------


async def test_of_two_processes_that_start_a_run_one_owns_it(bench):
    one, two = bench.journal("one"), bench.journal("two")
    await one.load()
    await two.load()
    await one.start(run_started(owner="one"), holder=HOLDER)
    with pytest.raises(Fenced):
        await two.start(run_started(owner="two"), holder=HOLDER)
    assert (bench.types, one.state.owner) == (["run_started"], "one")


async def test_of_two_processes_that_take_a_run_over_one_owns_it(bench):
    await bench.owned("zero")
    one, two = bench.journal("one"), bench.journal("two")
    await one.load()
    await two.load()
    await one.resume(holder=HOLDER)
    with pytest.raises(Fenced):
        await two.resume(holder=HOLDER)
    assert (one.state.owner, one.state.attempt) == ("one", 2)


async def test_a_takeover_that_meets_only_steps_of_the_dying_owner_succeeds(bench):
    dying, heir = await bench.owned(), bench.journal("two")
    await heir.load()
    await dying.append(model_called())
    await heir.resume(holder=HOLDER)
    assert (heir.state.owner, heir.state.step) == ("two", 1)


async def test_a_run_that_ended_meanwhile_is_not_taken_over(bench):
    owner, heir = await bench.owned(), bench.journal("two")
    await heir.load()
    await owner.append(run_ended())
    with pytest.raises(Fenced):
        await heir.resume(holder=HOLDER)


async def test_a_turn_is_adopted_without_an_event(bench):
    journal = bench.journal("one")
    await journal.load(shared=True)
    journal.adopt(0)
    await journal.append(model_called())
    assert (bench.types, journal.state.owner) == (["model_called"], "one")


async def test_a_turn_that_was_taken_over_is_not_adopted_any_more(bench):
    late = bench.journal("one")
    await bench.taken_over("two", attempt=2)
    await late.find_end()
    with pytest.raises(Fenced):
        late.adopt(0)


async def test_a_turn_behind_which_others_have_come_is_not_adopted_any_more(bench):
    late, next_turn = bench.journal("one"), bench.journal("two", run="the next")
    await next_turn.load(shared=True)
    next_turn.adopt(0)
    await next_turn.append(model_called())
    await late.find_end()
    with pytest.raises(Fenced):
        late.adopt(0)


async def test_a_takeover_that_came_after_the_adoption_fences_at_the_first_step(bench):
    owner = bench.journal("one")
    await owner.find_end()
    owner.adopt(0)
    await bench.taken_over("two", attempt=2)
    with pytest.raises(Fenced):
        await owner.append(model_called())
    assert bench.types == ["run_resumed"]


async def test_a_later_takeover_of_a_turn_is_before_an_earlier_one(bench):
    await bench.taken_over("three", attempt=3)
    late = bench.journal("two")
    await late.load()
    with pytest.raises(Fenced):
        await late.resume(holder=HOLDER, attempt=2)
    assert bench.types == ["run_resumed"]


async def test_an_earlier_takeover_does_not_stop_a_later_one(bench):
    second, third = bench.journal("two"), bench.journal("three")
    await second.load()
    await third.load()
    await second.resume(holder=HOLDER, attempt=2)
    await third.resume(holder=HOLDER, attempt=3)
    with pytest.raises(Fenced):
        await second.append(model_called())
    await third.append(model_called())
    assert bench.types == ["run_resumed", "run_resumed", "model_called"]


async def test_other_runs_on_the_subject_of_turns_only_move_the_position(bench):
    earlier = bench.journal("one", run="earlier")
    await earlier.load(shared=True)
    await earlier.resume(holder=HOLDER)
    journal = bench.journal("one")
    state = await journal.load(after=1, shared=True)
    assert (state.seq, state.owner) == (1, "")
    journal.adopt(1)
    await journal.append(model_called())


# -- appending --------------------------------------------------------------------------------


@pytest.mark.parametrize("writing", ["append", "try_append"])
async def test_an_owner_that_was_replaced_writes_nothing(bench, writing):
    owner = await bench.owned()
    await bench.taken_over()
    with pytest.raises(Fenced, match="owned by two"):
        await getattr(owner, writing)(model_called())
    assert bench.types == ["run_started", "run_resumed"]


@pytest.mark.parametrize("writing", ["append", "try_append"])
async def test_nothing_is_written_behind_an_end(bench, writing):
    owner, outside = await bench.owned(), bench.journal("other")
    await outside.load()
    assert await outside.from_outside(run_ended("cancelled"), cause=EventId("e9"))
    with pytest.raises(Fenced, match="cancelled"):
        await getattr(owner, writing)(model_called())
    assert bench.types == ["run_started", "run_ended"]


async def test_input_that_came_meanwhile_is_folded_in_before_a_step(bench):
    owner, outside = await bench.owned(), bench.journal("other")
    await owner.append(model_called())
    await outside.load()
    assert await outside.from_outside(input_received("hurry"), cause=EventId("e9"))
    await owner.append(model_returned("Slowly."))
    assert bench.types == ["run_started", "model_called", "input_received", "model_returned"]
    assert [line.text for line in owner.state.lines] == ["Slowly.", "hurry"]


async def test_an_end_is_not_written_when_input_came_meanwhile(bench):
    owner, outside = await bench.owned(), bench.journal("other")
    await outside.load()
    await outside.from_outside(input_received("hurry"), cause=EventId("e9"))
    assert not await owner.try_append(run_ended())
    assert bench.types == ["run_started", "input_received"]
    assert owner.state.fresh_input
    assert await owner.try_append(run_ended())


async def test_of_an_end_and_a_stop_from_outside_one_wins(bench):
    owner, outside = await bench.owned(), bench.journal("other")
    await outside.load()
    assert await owner.try_append(run_ended("succeeded"))
    assert not await outside.from_outside(run_ended("cancelled"), cause=EventId("e9"))
    assert bench.types == ["run_started", "run_ended"]


async def test_input_is_not_written_to_a_run_that_began_to_wait(bench):
    owner, outside = await bench.owned(), bench.journal("other")
    await outside.load()
    await owner.try_append(run_waiting())
    assert not await outside.from_outside(input_received(), cause=EventId("e9"))
    assert outside.state.waiting


async def test_a_conflict_that_cannot_be_read_yet_is_waited_for(bench):
    owner = await bench.owned()
    tried = []
    storing = bench.log.append_if

    async def in_flight(subject, expected, envelope):
        tried.append(envelope.id)
        return await storing(subject, expected if len(tried) > 2 else 999, envelope)

    bench.log.append_if = in_flight
    await owner.append(noted())
    assert (len(tried), len({*tried})) == (3, 1)


# -- an absent log ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LogUnavailable("away"), LogFull("full")])
async def test_an_owner_waits_for_an_absent_log_and_keeps_the_answer(bench, error):
    owner = await bench.owned()
    await owner.append(model_called())
    bench.fail(error, times=5)
    await owner.append(model_returned("dear"))
    assert bench.clock.slept == [RETRY_S] * 5
    assert bench.types == ["run_started", "model_called", "model_returned"]


async def test_an_owner_does_not_wait_for_ever(bench):
    owner = await bench.owned()
    bench.fail(LogUnavailable("away"), times=10_000)
    with pytest.raises(LogUnavailable):
        await owner.append(noted())
    assert sum(bench.clock.slept) == pytest.approx(PATIENCE_S, abs=2 * RETRY_S)


async def test_an_owner_that_waited_is_fenced_when_it_was_replaced_meanwhile(bench):
    owner = await bench.owned()
    bench.fail(LogUnavailable("away"), times=1)
    replaced = asyncio.Event()

    async def replace():
        if not replaced.is_set():
            replaced.set()
            await bench.taken_over()

    bench.clock.during_sleep = replace
    with pytest.raises(Fenced):
        await owner.append(noted())


# -- what is kept by reference ----------------------------------------------------------------


async def test_calls_that_are_kept_by_reference_are_read_back(bench):
    owner = await bench.owned()
    calls = (call("c1", arguments="x" * 10), call("c2"))
    body = await bench.bodies.put(msgspec.json.encode(calls), media_type="application/json")
    await owner.append(model_called())
    await owner.append(ModelReturned(run_id=RUN, step=1, model="m", tool_calls_body=body))
    assert owner.state.pending == calls
    heir = await bench.taken_over()
    assert heir.state.pending == calls


async def test_events_say_what_led_to_them_and_which_turn_they_belong_to(bench):
    journal = bench.journal("one")
    journal.on_behalf_of(RunId("t1"), EventId("e0"))
    await journal.load()
    await journal.start(run_started(), holder=HOLDER)
    await journal.append(model_called())
    started, called = (recorded.envelope for recorded in bench.log.events)
    assert (started.turn, started.cause, started.actor) == ("t1", HOLDER, "worker")
    assert (called.turn, called.cause) == ("t1", started.id)


async def test_a_takeover_leads_to_what_follows_it(bench):
    await bench.owned()
    heir = await bench.taken_over()
    await heir.append(noted())
    resumed, note = (recorded.envelope for recorded in bench.log.events[1:])
    assert note.cause == resumed.id


async def test_a_step_may_be_given_its_id(bench):
    owner = await bench.owned()
    assert (await owner.append(noted(), id=EventId("mine"))).id == "mine"
    assert bench.log.events[-1].envelope.id == "mine"


async def test_what_is_stored_beside_a_step_is_stored_with_it_and_once(bench):
    journal = await bench.owned()
    other = bench.journal("outside")
    await other.load()
    await other.from_outside(input_received(), cause=HOLDER)  # so the first try is refused
    settled = bench.writer.seal(SpendSettled(reservation=EventId("r1")))
    await journal.append(noted(), beside=Append(SPEND, settled))
    assert bench.types == ["run_started", "input_received", "spend_settled", "noted"]


async def test_nothing_is_stored_beside_a_step_of_an_owner_who_is_fenced(bench):
    journal = await bench.owned()
    await bench.taken_over()
    settled = bench.writer.seal(SpendSettled(reservation=EventId("r1")))
    with pytest.raises(Fenced):
        await journal.append(noted(), beside=Append(SPEND, settled))
    assert "spend_settled" not in bench.types
