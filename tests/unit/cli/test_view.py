"""The terminal chat shows what runs and what is being written."""

import pytest

from services.cli.chat.following import FOUND, LOST
from services.cli.chat.told import Event, Run, State, Told, events
from services.cli.chat.view import View

NOW = 1_700_000_010_000_000
EARLIER = NOW - 7_000_000


def seen(*told):
    view = View()
    for name, fields in told:
        view.take(Event(name, Told(**fields)))
    return view


def test_a_draft_grows_and_is_gone_with_the_reply():
    view = seen(("delta", {"text": "Hel"}), ("delta", {"text": "lo"}))
    assert view.draft == "Hello"
    view.take(Event("reply", Told(text="Hello")))
    assert view.draft == ""


def test_a_draft_that_is_void_starts_over():
    view = seen(("delta", {"text": "wrong"}), ("delta", {"text": "ri", "reset": True}))
    assert view.draft == "ri"


def test_the_bar_says_what_is_answered_and_for_how_long():
    view = seen(("turn_started", {"turn_id": "t", "at": EARLIER}))
    assert "answering 7 s" in view.bar(NOW)
    view.take(Event("turn_completed", Told(turn_id="t")))
    assert view.bar(NOW) == "ready"


def test_the_bar_shows_a_worker_by_its_last_status():
    view = seen(
        ("worker_requested", {"run_id": "run-1234", "text": "build", "at": EARLIER}),
        ("status_set", {"run_id": "run-1234", "text": "compiling"}),
    )
    assert view.bar(NOW) == "worker …1234 7 s: compiling"
    view.take(Event("worker_reported", Told(run_id="run-1234")))
    assert "waits" in view.bar(NOW)
    view.take(Event("worker_concluded", Told(run_id="run-1234")))
    assert view.bar(NOW) == "ready"


def test_many_runs_are_counted():
    view = seen(*(("worker_requested", {"run_id": f"w{n}", "at": EARLIER}) for n in range(5)))
    assert view.bar(NOW).endswith("3 more")


def test_a_lost_connection_is_said_until_it_is_back():
    view = seen((LOST, {}))
    assert "connection" in view.bar(NOW)
    view.take(Event(FOUND, Told()))
    assert view.bar(NOW) == "ready"


def test_what_ran_before_we_came_is_shown():
    view = View()
    run = Run(run_id="run-abcd", kind="worker", task="wait", started_at=EARLIER, waiting=True)
    view.take_state(State(seq=9, settled=True, runs=[run]))
    view.take(Event("settled", Told(seq=9)))
    assert view.bar(NOW) == "worker …abcd waits: wait"


@pytest.mark.parametrize("cut", range(6))
def test_an_event_that_is_cut_off_is_not_told(cut):
    lines = ["retry: 1000", "", ": beat", "id: 7", "event: reply", 'data: {"text":"hi"}', ""]
    whole = list(events(lines))
    assert [(event.name, event.seq, event.told.text) for event in whole] == [("reply", 7, "hi")]
    assert list(events(lines[:cut])) == []
