"""What stands still for too long is cancelled, with a reason; what waits or moves is not."""

import pytest
from structlog.testing import capture_logs

from schemas.channel import CancelRequested, TurnStarted
from schemas.run import ModelReturned, RunResumed, RunStarted, RunWaiting
from services.cortex.supervision import OBSERVED_S, patience_s
from services.runtime.config import Config
from tests.support.builders import branch, branch_concluded, cancel, worker, worker_reported
from tests.support.cortex_stand import OPS, Stand

pytestmark = pytest.mark.integration

WORKER_S = patience_s(Config(), "worker")
BRANCH_S = patience_s(Config(), "branch")


@pytest.fixture(autouse=True)
def quiet():
    with capture_logs():
        yield


@pytest.fixture
async def stand(pool):
    stand = Stand(pool)
    await stand.define()
    await stand.say("go")
    return stand


async def start(stand, kind="worker", run="w1") -> None:
    await stand.add(OPS, worker(run) if kind == "worker" else branch(run))
    await stand.add(OPS.of(kind, run), RunStarted(run_id=run, kind=kind, owner="one"))


async def look(stand, replica, *, times=1, every_s=OBSERVED_S) -> list[str]:
    stopped = []
    for number in range(times):
        if number:
            stand.clock.advance(every_s)
        await stand.project()
        stopped += await replica.supervision.run_once(stand.clock.now())
    await stand.project()
    return stopped


def cancels(stand) -> list[CancelRequested]:
    return stand.written(CancelRequested)


@pytest.mark.parametrize(
    ("kind", "patience"), [("worker", WORKER_S), ("branch", BRANCH_S)], ids=["worker", "branch"]
)
async def test_a_run_without_an_event_beyond_its_own_timeout_is_cancelled(stand, kind, patience):
    replica = stand.replica()
    await start(stand, kind)
    stand.clock.advance(patience - 1)
    assert await look(stand, replica) == []
    stand.clock.advance(OBSERVED_S)
    assert await look(stand, replica, times=2) == ["w1"]
    (event,) = cancels(stand)
    assert event.run_id == "w1"
    assert "minutes" in event.reason
    asked = [r for r in stand.log.events if isinstance(r.event, CancelRequested)]
    assert asked[0].subject == str(OPS)


async def test_it_is_asked_for_once_however_often_and_by_whomever(stand):
    one, other = stand.replica(), stand.replica()
    await start(stand)
    stand.clock.advance(WORKER_S + 1)
    for _ in range(20):
        await look(stand, one)
        await look(stand, other)
        stand.clock.advance(OBSERVED_S)
    assert len(cancels(stand)) == 1


async def test_who_wakes_up_after_hours_gives_others_the_time_to_take_over(stand):
    replica = stand.replica()
    await start(stand)
    stand.clock.advance(10 * 3_600)  # the machine slept
    assert await look(stand, replica) == []
    stand.clock.advance(90)
    await stand.add(OPS.of("worker", "w1"), RunResumed(run_id="w1", owner="two", attempt=2))
    assert await look(stand, replica, times=5) == []
    assert cancels(stand) == []


async def test_a_run_that_moves_now_and_then_is_left_alone(stand):
    replica = stand.replica()
    await start(stand)
    for step in range(5):
        stand.clock.advance(WORKER_S - 1)
        returned = ModelReturned(run_id="w1", step=step, model="m", text="x")
        await stand.add(OPS.of("worker", "w1"), returned)
        await look(stand, replica, times=2, every_s=1)
    assert cancels(stand) == []


async def test_a_worker_that_waits_for_input_is_never_cancelled(stand):
    replica = stand.replica()
    await stand.add(OPS, worker("w1", interactive=True))
    stream = OPS.of("worker", "w1")
    await stand.add(stream, RunStarted(run_id="w1", kind="worker", owner="one", interactive=True))
    await stand.add(stream, RunWaiting(run_id="w1", result="what now?"))
    await stand.add(OPS, worker_reported("w1"))
    stand.clock.advance(30 * 86_400)
    assert await look(stand, replica, times=5) == []
    assert cancels(stand) == []


async def test_one_that_nobody_ever_began_is_cancelled_too(stand):
    replica = stand.replica()
    await stand.add(OPS, worker("w1"))
    stand.clock.advance(WORKER_S + 1)
    assert await look(stand, replica, times=3) == ["w1"]


async def test_turns_are_not_supervised_here(stand):
    replica = stand.replica()
    await stand.add(OPS, TurnStarted(turn_id="t1", owner="one"))
    stand.clock.advance(10 * 86_400)
    assert await look(stand, replica, times=3) == []


async def test_the_log_decides_and_not_the_read_model(stand):
    replica = stand.replica()
    await start(stand, "branch", "b1")
    stand.clock.advance(BRANCH_S + 1)
    await look(stand, replica)
    await stand.add(OPS, branch_concluded("b1"))  # not yet projected
    stand.clock.advance(OBSERVED_S)
    assert await replica.supervision.run_once(stand.clock.now()) == []
    assert cancels(stand) == []


async def test_one_that_a_person_has_stopped_gets_its_own_time_to_end(stand):
    replica = stand.replica()
    await start(stand)
    stand.clock.advance(WORKER_S + 1)
    await look(stand, replica)
    await stand.add(OPS, cancel("w1"))
    assert await look(stand, replica, times=2, every_s=1) == []
    assert len(cancels(stand)) == 1
