"""Turns hold against everything that hypothesis can think of, on the fake log."""

import pytest
from hypothesis import HealthCheck, settings

from schemas.channel import TurnCompleted
from schemas.run import ModelReturned
from tests.contracts.turn_protocol import TurnProtocol

TestTurnProtocol = TurnProtocol.TestCase
TestTurnProtocol.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

CLAIMED = 1  # steps from a delivery to the stored claim of its turn
TO_THE_REPLY = 9  # steps from a delivery to the reply that is about to be sent
TO_THE_END = 99


@pytest.fixture
def game():
    """Return a game; what must hold at its end is checked at the end of the test."""
    playing = TurnProtocol()
    yield playing
    playing.turns_are_as_they_should_be()
    playing.teardown()


def say(game):
    game.somebody_says_something(ben=False, group=False)


def take(game, replica, steps):
    game.a_replica_gets_a_delivery(which=0, replica=replica, steps=steps)


def take_over(game, steps, *, from_=0, to=1):
    """Let the delivery of a replica run out, and another one go on with it."""
    which = next(n for n, h in enumerate(game.handlings) if h.replica is game.replicas[from_])
    game.a_delivery_runs_out_while_its_replica_stands_still(which, (to - from_) % 3, steps)


def wake(game, replica, steps=TO_THE_END):
    handling = next(h for h in game.handlings if h.replica is game.replicas[replica])
    game.run(game.go_on(handling, steps))


def completed(game):
    return [
        recorded.event for recorded in game.events() if isinstance(recorded.event, TurnCompleted)
    ]


def asked(game):
    return sum(isinstance(recorded.event, ModelReturned) for recorded in game.shared.log.events)


def test_an_undisturbed_turn(game):
    say(game)
    take(game, 0, TO_THE_END)
    assert (len(completed(game)), game.owed, game.handlings) == (1, [], [])


@pytest.mark.parametrize("mood", ["reply", "delegate", "talk"])
@pytest.mark.parametrize("asleep_at", range(1, 13))
def test_a_fenced_owner_does_nothing_to_the_conversation(game, mood, asleep_at):
    game.the_model_changes_its_mood(mood)
    say(game)
    take(game, 0, asleep_at)
    if not game.handlings:
        return
    take_over(game, CLAIMED)
    before = len(game.events())
    wake(game, 0)
    assert len(game.events()) == before


def test_a_fenced_owner_does_not_take_anothers_reply_for_its_own(game):
    say(game)
    take(game, 0, TO_THE_REPLY)
    take_over(game, TO_THE_END)
    say(game)  # between the takeover and the fenced owner's reply, which has the same id
    wake(game, 0)
    state = game.run(game.replicas[0].conversations.newest(game.subject))
    assert state == game.state()


def test_what_came_before_anothers_reply_is_not_lost_to_a_fenced_owner(game):
    say(game)
    take(game, 0, TO_THE_REPLY)
    say(game)
    take_over(game, TO_THE_REPLY - 2)
    wake(game, 0)
    state = game.run(game.replicas[0].conversations.newest(game.subject))
    assert state == game.state()


def test_an_owner_that_slept_through_its_whole_turn_does_nothing(game):
    say(game)
    take(game, 0, CLAIMED)
    take_over(game, TO_THE_END)
    wake(game, 0)
    assert (len(completed(game)), asked(game)) == (1, 1)


def test_an_owner_that_slept_until_the_next_turn_does_nothing(game):
    say(game)
    take(game, 0, 0)
    take_over(game, CLAIMED, to=1)
    take_over(game, CLAIMED, from_=1, to=2)  # attempt 2, and asleep
    take_over(game, TO_THE_END, from_=1, to=0)  # attempt 3, to the end
    assert len(completed(game)) == 1
    say(game)
    take(game, 1, TO_THE_REPLY)  # the next turn is open
    say(game)
    take(game, 2, TO_THE_END)  # so that the sleeper's process knows of it
    wake(game, 2)
    assert asked(game) == 2


def test_a_delivery_that_another_holds_too_is_not_acknowledged(game):
    say(game)
    take(game, 0, 0)
    take_over(game, CLAIMED)
    wake(game, 0)  # too late for its claim
    assert game.acknowledged == set()
    game.a_replica_dies(replica=1)
    assert [due.recorded.seq for due in game.owed] == [2, 2]


@pytest.mark.parametrize("steps", range(TO_THE_REPLY + 4))
def test_a_persistence_branch_may_be_requested_and_end_in_the_middle_of_a_turn(game, steps):
    say(game)
    take(game, 0, steps)
    game.a_moment_passes()
    game.a_replica_looks_for_what_is_to_be_kept(replica=1, steps=TO_THE_END)
    assert game.state().unsaved.branch is not None
    if game.handlings:
        wake(game, 0, 1)
    game.a_persistence_branch_concludes(outcome="succeeded")
    game.run(game.come_to_rest())
    assert len(completed(game)) == 1


def test_replicas_that_look_at_the_same_time_request_one_branch(game):
    say(game)
    game.a_moment_passes()
    for replica in (0, 1, 2):
        game.a_replica_looks_for_what_is_to_be_kept(replica=replica, steps=0)
    say(game)
    for replica in (2, 0, 1):
        wake(game, replica)
    requested = [r for r in game.events() if r.envelope.type == "branch_requested"]
    assert len(requested) == 1


def test_a_turn_is_given_up_after_as_many_attempts_as_are_allowed(game):
    say(game)
    game.the_model_changes_its_mood("away")
    for _ in range(game.shared.settings.attempts):
        assert game.state().turn is None or game.owed
        take(game, 0, TO_THE_END)
    assert (game.owed, len(game.state().failed)) == ([], 1)


@pytest.mark.parametrize("mood", ["reply", "delegate", "talk"])
@pytest.mark.parametrize("asleep_at", range(13))
def test_a_checkpoint_at_any_step_of_a_turn_disturbs_nothing(game, mood, asleep_at):
    game.they_have_talked_before(turns=2)
    game.the_model_changes_its_mood(mood)
    say(game)
    take(game, 0, asleep_at)
    game.a_checkpoint_is_cut(share=0.9)
    assert game.state().cuts == 1
    if game.handlings:
        wake(game, 0)
    assert (len(completed(game)), asked(game)) == (3, 1)
    state = game.run(game.replicas[0].conversations.newest(game.subject))
    assert state == game.state()


def test_a_turn_that_is_taken_over_after_a_checkpoint_shows_its_model_the_same(game):
    game.they_have_talked_before(turns=2)
    say(game)
    take(game, 0, TO_THE_REPLY - 4)  # the model is asked, and its answer is lost
    game.a_checkpoint_is_cut(share=0.9)
    take_over(game, TO_THE_END)
    first, again = game.shared.model.requests[0], game.shared.model.requests[-1]
    assert len(game.shared.model.requests) == 2
    assert first == again
