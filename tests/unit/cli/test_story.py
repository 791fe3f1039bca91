"""A trace shows what led to what: every message, turn, step and run, each once."""

import pytest

from schemas.base import EventId
from schemas.schedule import OccurrenceEnded, OccurrenceFired
from schemas.subjects import Subject
from services.cli import drawing
from services.cli.story import Story, total
from tests.support.builders import (
    START,
    branch,
    branch_concluded,
    call,
    caused_by,
    forked,
    message,
    model_called,
    model_failed,
    model_returned,
    reply,
    run_ended,
    run_started,
    status,
    story,
    tool_called,
    tool_returned,
    turn_completed,
    turn_resumed,
    turn_started,
    worker,
    worker_concluded,
)
from tests.support.stories import Story as RandomStory


def told(*events):
    found = Story()
    for recorded in story(*events):
        found.add(recorded)
    return found


def outline(node):
    """A node as nested lists: its kind, then what hangs below it."""
    return [node.kind, *map(outline, node.children)]


def test_a_reply_hangs_below_its_turn_and_the_turn_below_its_message():
    found = told(
        message("hello"),
        caused_by("e1", turn_started("t1")),
        reply("hi", turn="t1"),
        turn_completed("e1", turn="t1"),
    )
    (root,) = found.roots
    assert outline(root) == ["message", ["turn", ["reply"]]]
    assert root.children[0].state == "replied"
    assert root.children[0].took_ms == pytest.approx(2.0)


def test_what_a_tool_did_hangs_below_the_tool():
    found = told(
        message("build it"),
        caused_by("e1", turn_started("r1")),
        model_called(),
        model_returned("", call("c1", "spawn_worker")),
        tool_called("c1", "spawn_worker"),
        worker("w1", parent="r1"),
        tool_returned("c1", name="spawn_worker"),
        turn_completed("e1", turn="r1"),
    )
    assert outline(found.roots[0]) == ["message", ["turn", ["model"], ["tool", ["worker"]]]]


def test_the_turn_that_tells_a_result_hangs_below_the_run_that_gave_it():
    found = told(
        message("what do you know?"),
        caused_by("e1", turn_started("t1")),
        caused_by("e1", branch("b1")),
        turn_completed("e1", turn="t1"),
        caused_by("e3", run_started("branch", run="b1")),
        branch_concluded("b1"),
        caused_by("e6", turn_started("t2")),
        reply("this", turn="t2"),
        turn_completed("e6", turn="t2"),
    )
    (root,) = found.roots
    below = next(node for node in root.walk() if node.kind == "branch")
    assert outline(below) == ["branch", ["turn", ["reply"]]]
    assert below.state == "succeeded"


def test_a_worker_shows_its_steps_its_status_and_how_it_ended():
    found = told(
        worker("r1"),
        caused_by("e1", run_started("worker", run="r1")),
        model_called(),
        model_returned("", call("c1", "set_status")),
        tool_called("c1", "set_status"),
        status("half way"),
        tool_returned("c1", name="set_status"),
        run_ended("partial", reason="out of time"),
        worker_concluded("r1", outcome="partial"),
    )
    (root,) = found.roots
    assert outline(root) == ["worker", ["model"], ["tool", ["note"]]]
    assert root.state == "partial"


def test_tokens_and_money_are_summed():
    found = told(
        caused_by("e0", turn_started("r1")), model_called(), model_returned("hi"), model_called(2)
    )
    sums = total(found.roots)
    model = found.roots[0].children[0]
    assert sums.turns == 1
    assert sums.model_calls == 2
    assert sums.tokens == model.input_tokens + model.output_tokens


def test_a_model_that_did_not_answer_says_why():
    found = told(turn_started("r1"), model_called(), model_failed("refused", detail="bad key"))
    assert found.roots[0].children[0].state == "refused: bad key"


def test_what_still_runs_says_so():
    found = told(message(), caused_by("e1", turn_started("r1")), model_called(), tool_called("c1"))
    turn = found.roots[0].children[0]
    assert [turn.state, *(step.state for step in turn.children)] == ["running"] * 3


def test_another_owner_is_noted():
    found = told(message(), caused_by("e1", turn_started("t1")), turn_resumed("t1", attempt=2))
    assert "attempt 2" in found.roots[0].children[0].children[0].text


def test_a_tree_whose_beginning_is_missing_is_drawn_from_where_it_is_known(capsys):
    found = told(reply("hi", turn="gone"), model_returned("x"), turn_completed("e9", turn="gone"))
    drawing.draw(found.roots)
    assert "reply: hi" in capsys.readouterr().out


def test_a_tree_in_a_pipe_is_ascii_and_says_durations_and_costs(capsys):
    found = told(
        message("hello"),
        caused_by("e1", turn_started("r1")),
        model_called(),
        model_returned("", call("c1", "reply")),
        tool_called("c1", "reply"),
        reply("hi \x1b[31m", turn="r1"),
        tool_returned("c1", name="reply"),
        turn_completed("e1", turn="r1"),
    )
    drawing.draw(found.roots)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("Ana: hello")
    assert lines[1].startswith("`-- turn r1, replied, 6 ms, 1 model call")
    assert lines[2].startswith("    |-- model ")
    assert lines[3].startswith("    `-- tool reply, ok")
    assert lines[4] == "        `-- reply: hi �[31m"
    assert lines[-1].startswith("1 turn, 1 model call, ")


@pytest.mark.parametrize("seed", range(5))
def test_every_model_call_of_any_history_is_in_the_tree_once(seed):
    events = RandomStory(seed).tell(400)
    found = Story()
    for recorded in events:
        found.add(recorded)
    calls = {
        (recorded.event.run_id, recorded.event.step)
        for recorded in events
        if recorded.envelope.type == "model_called" and recorded.event is not None
    }
    nodes = [node for root in found.roots for node in root.walk()]
    assert sum(node.kind == "model" for node in nodes) >= len(calls)
    assert len({id(node) for node in nodes}) == len(nodes)
    drawing.draw(found.roots)


def test_a_run_of_a_job_is_a_root_with_its_turn_and_its_end_below_it():
    place = Subject("acme", "atlas", "cron", "digest")
    told = Story()
    events = (
        OccurrenceFired(due_at=START),
        caused_by("e1", turn_started()),
        turn_completed("e1", outcome="silent"),
        OccurrenceEnded(occurrence=EventId("e1"), outcome="succeeded", text="done"),
    )
    for recorded in story(*events, subject=place):
        told.add(recorded)
    (root,) = told.roots
    assert (root.kind, [child.kind for child in root.children]) == ("job", ["turn", "note"])


def test_a_fork_is_a_root_and_the_turn_that_it_calls_for_hangs_below_it():
    found = told(
        forked("elsewhere"),
        caused_by("e1", turn_started("t1")),
        reply("hi", turn="t1"),
        turn_completed("elsewhere", turn="t1"),
    )
    (root,) = found.roots
    assert outline(root) == ["fork", ["turn", ["reply"]]]
    assert drawing.label(root) == "fork: of portal/general at elsewhere"
