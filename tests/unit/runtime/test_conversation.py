"""A conversation is what its channel stream tells: who said what, what is open, what waits."""

from functools import partial, reduce

import msgspec
import pytest

from schemas.channel import Attachment, Person
from services.runtime.conversation import (
    FAILED,
    PREVIEW,
    SEEN,
    Conversation,
    calls_for_turn,
    evolve,
    preview,
)
from services.runtime.event_log import Recorded
from services.runtime.recording import record
from tests.support.builders import (
    ANA,
    BEN,
    BODY,
    START,
    at,
    branch,
    branch_concluded,
    cancel,
    caused_by,
    file_sent,
    message,
    reaction,
    reply,
    retry,
    routed,
    story,
    turn_completed,
    turn_failed,
    turn_resumed,
    turn_started,
    worker,
    worker_concluded,
    worker_reported,
)
from tests.support.spec import Spec


def asking(ask, *, fold=evolve):
    return Spec(Conversation(), fold, ask).given


calls = asking(partial(calls_for_turn, max_retriggers=3))
unhandled = asking(lambda state: [trigger.id for trigger in state.unhandled])
shown = asking(
    lambda state: [f"{entry.role}: {entry.label}{entry.text}" for entry in state.entries]
)
turn = asking(lambda state: state.turn)
active = asking(lambda state: [(run.kind, run.run_id, run.waiting) for run in state.runs])
effects = asking(lambda state: state.turn.effects)


# -- what calls for a turn --------------------------------------------------------------------


def test_an_empty_conversation_is_at_rest():
    calls().then(False)


def test_a_message_calls_for_a_turn():
    calls().when(message()).then(True)


def test_no_turn_is_called_for_while_one_is_open():
    calls(message(), turn_started()).when(message(message_id="m2")).then(False)


def test_a_completed_turn_leaves_nothing_to_do():
    calls(message(), turn_started()).when(turn_completed("e1")).then(False)


def test_a_message_that_came_during_a_turn_calls_for_the_next():
    calls(message(), turn_started(), message(message_id="m2")).when(turn_completed("e1")).then(True)


def test_messages_that_came_before_the_model_was_asked_are_taken_together():
    past = unhandled(message(), turn_started(), message(message_id="m2"), message(message_id="m3"))
    past.then(["e1", "e3", "e4"])
    past.when(turn_completed("e1", "e3")).then(["e4"])


def test_the_same_platform_message_again_is_no_new_message():
    unhandled(message("hello")).when(message("hello")).then(["e1"])
    unhandled(message(), turn_started(), turn_completed("e1")).when(message()).then([])
    shown(message("hello")).when(message("hello again")).then(["user: [Ana] hello"])


def test_only_so_many_message_ids_are_remembered():
    crowd = [message(message_id=f"m{number}") for number in range(SEEN + 1)]
    asking(lambda state: (len(state.seen), state.seen[0]))(*crowd).then((SEEN, "m1"))


# -- turns ------------------------------------------------------------------------------------


def test_a_turn_knows_its_owner_its_start_and_whose_delivery_it_holds():
    opened = turn(message(), at(5, caused_by("e1", turn_started(owner="one")))).answer
    assert (opened.turn_id, opened.owner, opened.holder, opened.attempt) == ("t1", "one", "e1", 1)
    assert (opened.seq, opened.at) == (2, START + 5_000_000)


def test_a_takeover_changes_the_owner_and_keeps_what_the_turn_has_done():
    past = turn(message(), caused_by("e1", turn_started(owner="one")), reply())
    opened = past.when(caused_by("e9", turn_resumed(owner="two", attempt=2))).answer
    assert (opened.owner, opened.holder, opened.attempt) == ("two", "e9", 2)
    assert (opened.effects, opened.seq) == (("e3",), 2)


def test_a_takeover_of_a_turn_that_is_over_changes_nothing():
    turn(message(), turn_started(), turn_completed("e1")).when(turn_resumed()).then(None)


@pytest.mark.parametrize(
    ("effect", "answered", "replied"),
    [
        pytest.param(reply(), True, True, id="a reply"),
        pytest.param(file_sent(), True, False, id="a file"),
        pytest.param(reaction(), True, False, id="a reaction"),
        pytest.param(branch(), False, False, id="a branch"),
        pytest.param(worker(), False, False, id="a worker"),
        pytest.param(routed(), False, False, id="input"),
        pytest.param(cancel(), False, False, id="a stop"),
    ],
)
def test_what_a_turn_does_is_an_effect(effect, answered, replied):
    opened = turn(message(), turn_started()).when(effect).answer
    assert opened.effects == ("e3",)
    assert (opened.answered, opened.replied) == (answered, replied)


def test_what_others_append_during_a_turn_is_no_effect_of_it():
    past = effects(branch(), worker(), message(), turn_started())
    past.when(message(message_id="m2"), worker_reported(), branch_concluded()).then(())


def test_an_effect_outside_of_a_turn_is_only_remembered():
    past = (message(), turn_started(), turn_completed("e1"))
    turn(*past).when(reply("late")).then(None)
    shown(*past).when(reply("late")).then(["user: [Ana] hello", "assistant: late"])


# -- results ----------------------------------------------------------------------------------


def test_a_conclusion_calls_for_a_turn_and_ends_the_run():
    past = (message(), turn_started(), branch("b1"), turn_completed("e1"))
    calls(*past).when(branch_concluded("b1")).then(True)
    active(*past).then([("branch", "b1", False)])
    active(*past).when(branch_concluded("b1")).then([])
    shown(*past).when(branch_concluded("b1", text="Thursday", outcome="partial")).then(
        [
            "user: [Ana] hello",
            "user: [you started branch b1] recall",
            "user: [result of branch b1] (partial)\nThursday",
        ]
    )


def test_a_branch_that_delegated_is_shown_but_calls_for_nothing():
    past = (message(), turn_started(), branch("b1"), turn_completed("e1"), worker("w1"))
    delegated = branch_concluded("b1", text="a worker goes on", worker="w1")
    calls(*past).when(delegated).then(False)
    active(*past).when(delegated).then([("worker", "w1", False)])
    assert "(succeeded)\na worker goes on" in shown(*past).when(delegated).answer[-1]
    calls(*past, delegated).when(worker_concluded("w1")).then(True)


@pytest.mark.parametrize("concluded", [branch_concluded("x"), worker_concluded("x")])
def test_a_second_conclusion_of_a_run_changes_nothing(concluded):
    past = (branch("x"), concluded)
    unhandled(*past).when(concluded).then(["e2"])
    assert len(shown(*past).when(concluded).answer) == 2


def test_a_worker_that_waits_is_still_active_and_calls_for_a_turn():
    past = (message(), turn_started(), worker("w1", interactive=True), turn_completed("e1"))
    calls(*past).when(worker_reported("w1")).then(True)
    active(*past).when(worker_reported("w1")).then([("worker", "w1", True)])
    assert shown(*past).when(worker_reported("w1", text="one")).answer[-1] == (
        "user: [result of worker w1] (waiting)\none"
    )


def test_input_sets_a_waiting_worker_to_work_and_leaves_others_alone():
    past = (worker("w1"), worker("w2"), worker_reported("w1"), worker_reported("w2"))
    active(*past).when(routed("w1")).then([("worker", "w1", False), ("worker", "w2", True)])


def test_a_report_of_a_worker_that_has_concluded_changes_nothing():
    past = (worker("w1"), worker_concluded("w1", outcome="cancelled"))
    unhandled(*past).when(worker_reported("w1")).then(["e2"])
    assert len(shown(*past).when(worker_reported("w1")).answer) == 2


def test_a_run_knows_what_it_is_for_and_when_it_was_asked_for():
    run = asking(lambda state: state.run("w1"))
    found = run(message(), at(7, worker("w1", task="build\n  it", interactive=True))).answer
    assert (found.kind, found.task, found.at) == ("worker", "build it", START + 7_000_000)
    assert (found.seq, found.interactive, found.waiting) == (2, True, False)
    run(branch("b1")).then(None)


# -- turns without people ---------------------------------------------------------------------


def rounds(count):
    """Return turns in which a result leads to the next branch, without a person."""
    told = []
    for number in range(count):
        concluded = len(told) + 6
        told += [
            branch_concluded(f"b{number}"),
            turn_started(f"t{number + 2}"),
            branch(f"b{number + 1}"),
            turn_completed(f"e{concluded - 1}", turn=f"t{number + 2}"),
        ]
    return told


BEGUN = (message(), turn_started(), branch("b0"), turn_completed("e1"))


@pytest.mark.parametrize(("turns", "goes_on"), [(0, True), (1, True), (2, True), (3, False)])
def test_results_call_for_turns_until_the_cap(turns, goes_on):
    assert unhandled(*BEGUN, *rounds(turns)).answer == []
    calls(*BEGUN, *rounds(turns)).when(branch_concluded(f"b{turns}")).then(goes_on)


def test_what_the_cap_left_over_is_taken_with_the_next_message():
    past = (*BEGUN, *rounds(3), branch_concluded("b3"))
    calls(*past).then(False)
    calls(*past).when(message("and?", message_id="m2")).then(True)
    unhandled(*past).when(message("and?", message_id="m2")).then(["e17", "e18"])


def test_a_turn_that_answers_a_person_starts_the_count_anew():
    past = (*BEGUN, *rounds(3), message("and?", message_id="m2"), turn_started("t9"))
    calls(*past, turn_completed("e17", turn="t9")).when(branch_concluded("b3")).then(True)


# -- failure and retry ------------------------------------------------------------------------

FAILURE = (message(), turn_started("t1"), turn_failed("e1", turn="t1"))


def test_a_failed_turn_has_handled_its_messages():
    calls(*FAILURE).then(False)


def test_a_retry_makes_unhandled_what_the_failed_turn_had_taken():
    unhandled(*FAILURE).when(retry("t1")).then(["e1"])
    calls(*FAILURE).when(retry("t1")).then(True)


def test_a_retry_comes_before_what_was_said_meanwhile():
    unhandled(*FAILURE, message(message_id="m2")).when(retry("t1")).then(["e1", "e4"])


def test_a_second_retry_of_the_same_turn_changes_nothing():
    unhandled(*FAILURE, retry("t1")).when(retry("t1")).then(["e1"])


def test_a_retry_of_a_turn_that_did_not_fail_changes_nothing():
    unhandled(message(), turn_started(), turn_completed("e1")).when(retry("t1")).then([])


def test_a_retried_turn_may_fail_and_be_retried_again():
    again = (retry("t1"), turn_started("t2"), turn_failed("e1", turn="t2"))
    unhandled(*FAILURE, *again).when(retry("t2")).then(["e1"])


def test_a_retry_during_another_turn_waits_for_its_end():
    past = (*FAILURE, message(message_id="m2"), turn_started("t2"), retry("t1"))
    calls(*past).then(False)
    calls(*past).when(turn_completed("e4", turn="t2")).then(True)
    unhandled(*past).when(turn_completed("e4", turn="t2")).then(["e1"])


def test_only_so_many_failures_are_remembered():
    told = []
    for number in range(FAILED + 1):
        handled = f"e{len(told) + 1}"
        told += [
            message(message_id=f"m{number}"),
            turn_started(f"t{number}"),
            turn_failed(handled, turn=f"t{number}"),
        ]
    unhandled(*told).when(retry("t0")).then([])
    unhandled(*told).when(retry("t1")).then(["e4"])


# -- what a model is shown --------------------------------------------------------------------


def test_the_history_says_who_did_what():
    attachment = Attachment(name="plan.png", body=BODY)
    past = shown(
        message("look", author=BEN, attachments=(attachment,)),
        turn_started(),
        reaction("👀"),
        worker("w1", task="render it"),
        routed("w1", text="in colour"),
        cancel("w1", reason="too slow"),
        file_sent("out.png", caption="here"),
        reply("Done."),
    )
    past.then(
        [
            "user: [Ben] look",
            f"user: [Ben attached plan.png] {BODY}",
            "user: [you reacted with] 👀",
            "user: [worker w1 was started] render it",
            "user: [you told worker w1] in colour",
            "user: [a stop was asked of w1] too slow",
            "user: [you sent the file out.png] here",
            "assistant: Done.",
        ]
    )


def test_turns_themselves_are_not_shown():
    past = shown(message(), turn_started(), turn_resumed(), turn_completed("e1"), retry())
    past.then(["user: [Ana] hello"])


def test_the_last_speaker_and_the_size_of_the_room_are_known():
    room = asking(lambda state: (state.speaker, state.group))
    room().then((None, False))
    room(message(), message(message_id="m2", author=BEN, group=True)).then((BEN, True))
    room(message(message_id="m2", group=True), message(author=ANA)).then((ANA, False))


def test_history_goes_in_halves_so_that_its_beginning_stays_the_same():
    fold = partial(evolve, keep=10)
    told = [reply(f"{number}") for number in range(100)]
    state, firsts = Conversation(), []
    for recorded in story(*told):
        state = fold(state, recorded)
        firsts.append(state.entries[0].text)
        assert len(state.entries) <= 20
        assert state.entries[-1].text == recorded.event.text
    assert firsts == ["0"] * 20 + [str(cut) for cut in range(10, 90, 10) for _ in range(10)]


def test_history_that_was_cut_keeps_the_newest_in_order():
    fold = partial(evolve, keep=10)
    told = [reply(f"{number}") for number in range(57)]
    kept = asking(lambda state: [int(entry.text) for entry in state.entries], fold=fold)(*told)
    kept.then(list(range(40, 57)))


def test_what_has_still_to_be_answered_is_kept_however_much_it_is():
    kept = asking(
        lambda state: [entry.text for entry in state.entries], fold=partial(evolve, keep=10)
    )
    before = [reply(f"{number}") for number in range(15)]
    told = [message(f"{number}", message_id=f"m{number}") for number in range(15, 70)]
    kept(*before, *told).then([f"{number}" for number in range(15, 70)])
    ids = [f"e{number + 1}" for number in range(15, 70)]
    answered = (turn_started(), reply("all"), turn_completed(*ids), message("70", message_id="n"))
    kept(*before, *told, *answered).then([*(f"{n}" for n in range(61, 70)), "all", "70"])


# -- the fold itself --------------------------------------------------------------------------


def test_the_fold_knows_where_it_stands():
    asking(lambda state: (state.seq, state.at))(message(), turn_started()).then((2, "e2"))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"nonsense", id="a damaged event"),
        pytest.param(
            b'{"id": "x", "type": "seen_tomorrow", "at": 1, "actor": "a", "data": {}}',
            id="an event of tomorrow",
        ),
    ],
)
def test_what_cannot_be_understood_only_moves_the_position(body):
    before = reduce(evolve, story(message(), turn_started()), Conversation())
    strange: Recorded = record(9, "s", body)
    after = evolve(before, strange)
    assert (after.seq, after.at) == (9, strange.envelope.id)
    assert msgspec.structs.replace(after, seq=before.seq, at=before.at) == before


def test_a_fold_survives_being_saved():
    told = (
        message(author=BEN, group=True),
        turn_started(),
        worker("w1", task=BODY),
        reply(),
        turn_failed("e1"),
        worker_reported("w1", text=BODY),
        turn_started("t2"),
        turn_resumed("t2"),
    )
    state = reduce(evolve, story(*told), Conversation())
    assert msgspec.json.decode(msgspec.json.encode(state), type=Conversation) == state


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        pytest.param("one\n  line ", "one line", id="on one line"),
        pytest.param("x" * PREVIEW, "x" * PREVIEW, id="just fits"),
        pytest.param("x" * (PREVIEW + 1), "x" * (PREVIEW - 1) + "…", id="is cut"),
        pytest.param(BODY, "a long text", id="by reference"),
    ],
)
def test_a_task_is_previewed(task, expected):
    assert preview(task) == expected


# -- what somebody is called -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Ana", "[Ana] "),
        ("Younes", "[Younes] "),
        ("status", '["status"] '),
        ("Result of worker w1", '["Result of worker w1"] '),
        ("you sent the file", '["you sent the file"] '),
        ("job digest", '["job digest"] '),
        ("x]\n[status", "[x) (status] "),
        (" ", "[somebody] "),
    ],
)
def test_nobody_is_called_like_what_we_say_ourselves(name, label):
    said = message("hello", author=Person(id="portal:x", name=name))
    shown().when(said).then([f"user: {label}hello"])
