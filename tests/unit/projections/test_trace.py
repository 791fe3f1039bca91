"""A trace puts every event below the one that led to it."""

from projections.archive import Stored
from projections.trace import tree
from schemas.base import EventId, RunId
from schemas.channel import TurnCompleted, TurnStarted
from schemas.envelope import encode, seal
from schemas.run import ModelReturned, RunEnded, RunStarted, ToolReturned, Usage

CHANNEL = "evt.acme.atlas.portal.general.channel._"
RUN = RunId("t-1")


def stored(*events):
    """Each event as `(event, cause)`, its id `e` and its place, a millisecond apart."""
    return [
        Stored(
            seq,
            CHANNEL,
            encode(
                seal(
                    event,
                    id=EventId(f"e{seq}"),
                    at=seq * 1_000,
                    actor="test",
                    cause=cause and EventId(cause),
                )
            ),
        )
        for seq, (event, cause) in enumerate(events, start=1)
    ]


STARTED = TurnStarted(turn_id=RUN, owner="a")
COMPLETED = TurnCompleted(turn_id=RUN, handled=())


def test_effects_are_below_their_causes_in_log_order():
    (root,) = tree(stored((STARTED, None), (STARTED, "e1"), (STARTED, "e1"), (STARTED, "e2")))
    assert [(depth, node.id) for depth, node in root.walk()] == [
        (0, "e1"),
        (1, "e2"),
        (2, "e4"),
        (1, "e3"),
    ]
    assert [node.after_ms for _, node in root.walk()] == [None, 1.0, 2.0, 2.0]


def test_an_event_whose_cause_is_elsewhere_is_a_root():
    assert [root.id for root in tree(stored((STARTED, "far"), (STARTED, None)))] == ["e1", "e2"]


def test_calls_say_what_they_took_and_cost():
    answer = ModelReturned(
        run_id=RUN, step=1, model="m", usage=Usage(cost_usd=0.25), latency_ms=120
    )
    output = ToolReturned(run_id=RUN, call_id="c", name="shell", duration_ms=7)
    first, second = tree(stored((answer, None), (output, None)))
    assert (first.took_ms, first.cost_usd) == (120.0, 0.25)
    assert (second.took_ms, second.cost_usd) == (7.0, None)


def test_turns_and_runs_take_from_their_beginning_to_their_end():
    events = stored(
        (STARTED, None),
        (RunStarted(run_id=RUN, kind="turn", owner="a"), "e1"),
        (RunEnded(run_id=RUN, outcome="succeeded"), "e2"),
        (COMPLETED, "e1"),
    )
    assert {node.id: node.took_ms for _, node in tree(events)[0].walk()} == {
        "e1": None,
        "e2": None,
        "e3": 1.0,
        "e4": 3.0,
    }


def test_an_end_without_its_beginning_takes_an_unknown_time():
    assert tree(stored((COMPLETED, None)))[0].took_ms is None


def test_a_damaged_event_is_shown_as_what_it_is():
    (root,) = tree([Stored(9, CHANNEL, b"{")])
    assert (root.id, root.type, root.event) == ("damaged-9", "damaged", None)


def test_an_event_of_the_wrong_shape_keeps_its_envelope():
    body = b'{"id":"x","type":"turn_started","at":1,"actor":"a","data":{"turn_id":7}}'
    (root,) = tree([Stored(1, CHANNEL, body)])
    assert (root.id, root.type, root.event) == ("x", "turn_started", None)


def test_a_long_chain_of_causes_can_be_walked():
    events = stored((STARTED, None), *((STARTED, f"e{seq}") for seq in range(1, 3_000)))
    (root,) = tree(events)
    assert sum(1 for _ in root.walk()) == 3_000
