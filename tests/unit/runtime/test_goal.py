"""Goals: only people close one."""

import pytest

from schemas.base import EventId, GoalId
from schemas.envelope import encode, seal
from schemas.goals import GoalCreated
from schemas.subjects import Subject
from services.runtime.recording import record
from services.runtime.tasks.goal import ChangeGoal, EditGoal, decide, evolve, possible
from services.runtime.tasks.task import NotPossible, Say

G1 = GoalId("G1")
SUBJECT = str(Subject("acme", "atlas", entity="goal", id=G1))
CREATED = GoalCreated(goal_id=G1, title="no loss", due="2027-01-31")
COMMANDS = {
    "achieve": (ChangeGoal("achieve"), "achieved"),
    "abandon": (ChangeGoal("abandon"), "abandoned"),
    "reopen": (ChangeGoal("reopen"), "open"),
    "edit": (EditGoal(title="none"), None),
    "comment": (Say("hm"), None),
}
PASTS = {"open": (), "achieved": ("achieve",), "abandoned": ("abandon",)}
POSSIBLE = {"open": "achieve abandon edit comment", "achieved": "reopen comment"}
POSSIBLE["abandoned"] = POSSIBLE["achieved"]


def fold(goal, event, seq):
    envelope = seal(event, id=EventId(f"e{seq}"), at=seq, actor="person:portal:ana")
    return evolve(goal, record(seq, SUBJECT, encode(envelope)))


def given(*verbs):
    goal = fold(None, CREATED, 1)
    for seq, verb in enumerate(verbs, start=2):
        goal = fold(goal, decide(goal, COMMANDS[verb][0], by="person"), seq)
    return goal


@pytest.mark.parametrize("by", ["person", "agent"])
@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize("state", PASTS)
def test_every_command_in_every_state_is_done_or_refused_with_what_is_possible(state, verb, by):
    goal = given(*PASTS[state])
    allowed = POSSIBLE[state].split() if by == "person" else ["comment"]
    assert set(possible(goal, by)) == set(allowed)
    command, after = COMMANDS[verb]
    if verb not in allowed:
        with pytest.raises(NotPossible, match=f"G1 is {state}.*but: {allowed[0]}"):
            decide(goal, command, by=by)
        return
    changed = fold(goal, decide(goal, command, by=by), 9)
    assert (changed.state, changed.revision) == (after or state, goal.revision + 1)


def test_who_closed_a_goal_is_known_until_it_is_opened_again():
    assert given("achieve").closed_by == "person:portal:ana"
    assert given("achieve", "reopen").closed_by is None


def test_an_edit_that_changes_nothing_is_refused():
    with pytest.raises(NotPossible, match="nothing would change"):
        decide(given(), EditGoal(title="no loss", due="2027-01-31"), by="person")
