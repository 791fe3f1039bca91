"""A message is sent once, what comes back is printed once, and the end is noticed."""

import json
import queue

import pytest

from services.cli.chat import once
from services.cli.chat.conversation import Conversation
from services.cli.chat.following import FOUND, LOST, REFUSED, Following
from services.cli.chat.once import Exchange
from services.cli.exits import FAILED, OK
from services.cli.http import Client, Unreachable
from services.errors import Rejected
from tests.support.interface import interface, told

SENT = (202, {"event_id": "e", "seq": 5})
SETTLED = 'event: settled\ndata: {"seq":9}\n\n'
PATIENCE_S = 10


@pytest.fixture
def server():
    with interface() as state:
        yield state


@pytest.fixture
def conversation(server):
    return Conversation(Client(server.url, "secret"), "main", "a room/ü", "ana")


def exchange(conversation, **fields):
    options = {"timeout_s": PATIENCE_S, "as_json": False, "drafts": False, **fields}
    return Exchange(conversation, **options)


def test_replies_are_printed_and_the_end_is_noticed(server, conversation, capsys):
    server.answers.append(SENT)
    server.streams.append(
        [
            told("turn_started", 6, turn_id="t"),
            told("delta", turn="t", text="hi th"),
            told("reply", 7, text="hi there\x1b[31m"),
            told("file", 8, text="see", file={"name": "plan.pdf", "bytes": 3}),
            SETTLED,
        ]
    )
    assert exchange(conversation).say("hello") == OK
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "hi there�[31m"
    assert printed[1].startswith("[file plan.pdf: http://127.0.0.1:")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("direct", {}),
        ("group", {"group": True, "private": False}),
        ("private", {"group": True, "private": True}),
    ],
)
def test_the_message_says_who_else_is_there(server, kind, fields):
    server.answers.append(SENT)
    server.streams.append([SETTLED])
    conversation = Conversation(Client(server.url, "secret"), "main", "room", "ana", kind=kind)
    exchange(conversation).say("hello")
    body = server.asked[0].body
    assert {name: body[name] for name in ("group", "private") if name in body} == fields


def test_a_fork_is_talked_to_where_forks_are(server):
    server.answers.append(SENT)
    server.streams.append([SETTLED])
    exchange(Conversation(Client(server.url, "secret"), "main", "fork/a b", "ana")).say("hello")
    assert [asked.path for asked in server.asked] == [
        "/api/v1/agents/main/forks/a%20b/messages",
        "/api/v1/agents/main/forks/a%20b/stream",
    ]


def test_the_message_carries_author_token_and_a_key_of_its_own(server, conversation):
    server.answers.append(SENT)
    server.streams.append([SETTLED])
    exchange(conversation).say("hello")
    post, stream = server.asked
    assert post.path == "/api/v1/agents/main/conversations/a%20room%2F%C3%BC/messages"
    assert post.headers["Authorization"] == "Bearer secret"
    assert post.body["author"] == "ana"
    assert len(post.body["id"]) == 36
    assert stream.headers["Last-Event-ID"] == "5"


def test_a_rest_from_before_the_message_is_not_the_end(server, conversation, capsys):
    server.answers.append(SENT)
    before = 'event: settled\ndata: {"seq":4}\n\n'
    server.streams.append([before, told("reply", 7, text="late"), SETTLED])
    assert exchange(conversation).say("hello") == OK
    assert capsys.readouterr().out == "late\n"


def test_after_a_broken_connection_nothing_is_printed_twice(server, conversation, capsys):
    server.answers.append(SENT)
    one, two = told("reply", 6, text="one"), told("reply", 7, text="two")
    server.streams.extend([[one], [one, two, SETTLED]])
    assert exchange(conversation).say("hello") == OK
    said = capsys.readouterr()
    assert said.out == "one\ntwo\n"
    assert "trying again" in said.err
    assert server.asked[2].headers["Last-Event-ID"] == "6"


def test_a_turn_that_failed_is_told_and_counts(server, conversation, capsys):
    server.answers.append(SENT)
    server.streams.append([told("turn_failed", 7, reason="no model answered"), SETTLED])
    assert exchange(conversation).say("hello") == FAILED
    assert "no model answered" in capsys.readouterr().err


def test_what_still_runs_is_told_when_the_time_is_over(server, conversation, capsys):
    run = {"run_id": "w-1", "kind": "worker", "task": "build", "started_at": 1}
    server.answers.extend([SENT, (200, {"seq": 8, "settled": False, "runs": [run]})])
    assert exchange(conversation, timeout_s=0.3).say("hello") == FAILED
    said = capsys.readouterr().err
    assert "not settled after 0.3 s" in said
    assert "w-1" in said


def test_with_json_everything_is_a_line(server, conversation, capsys):
    server.answers.append(SENT)
    server.streams.append([told("reply", 7, text="hi"), SETTLED])
    exchange(conversation, as_json=True).say("hello")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["sent", "reply", "settled"]
    assert lines[1]["data"]["text"] == "hi"


def test_a_draft_is_completed_by_its_reply(server, conversation, capsys):
    server.answers.append(SENT)
    deltas = [told("delta", turn="t", text="Hel"), told("delta", turn="t", text="lo")]
    server.streams.append([*deltas, told("reply", 7, text="Hello Ana"), SETTLED])
    exchange(conversation, drafts=True).say("hello")
    assert capsys.readouterr().out == "Hello Ana\n"


def test_a_draft_that_became_something_else_is_followed_by_the_reply(server, conversation, capsys):
    server.answers.append(SENT)
    server.streams.append(
        [told("delta", turn="t", text="Wrong"), told("reply", 7, text="Right"), SETTLED]
    )
    exchange(conversation, drafts=True).say("hello")
    assert capsys.readouterr().out == "Wrong\nRight\n"


def test_a_refused_message_says_why_in_the_words_of_the_interface(server, conversation):
    server.answers.append((422, {"error": {"code": "x", "message": "the message is empty"}}))
    with pytest.raises(Rejected, match="the message is empty"):
        exchange(conversation).say(" ")


def test_a_wrong_token_says_where_to_put_the_right_one(server, conversation):
    server.answers.append((401, {"error": {"code": "x", "message": "send a token"}}))
    with pytest.raises(Rejected, match="PENSTOCK_TOKEN"):
        exchange(conversation).say("hello")


def test_where_nothing_answers_the_first_message_fails_at_once():
    nowhere = Conversation(Client("http://127.0.0.1:9", None), "main", "c", "ana")
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9 does not answer"):
        exchange(nowhere).say("hello")


def test_a_message_whose_answer_was_lost_is_sent_again_under_its_id(
    server, conversation, monkeypatch
):
    monkeypatch.setattr(once, "RESEND_S", 0.0)
    server.answers.extend([(0, None), (503, {}), SENT])
    server.streams.append([told("reply", 7, text="hi"), SETTLED])
    assert exchange(conversation).say("hello") == OK
    sent = [asked.body["id"] for asked in server.asked if asked.method == "POST"]
    assert len(sent) == 3
    assert len(set(sent)) == 1


def test_a_message_that_is_refused_for_now_is_not_sent_again(server, conversation):
    server.answers.append((503, {"error": {"code": "x", "message": "the log is away"}}))
    with pytest.raises(Unreachable, match="the log is away"):
        exchange(conversation).say("hello")
    assert len(server.asked) == 1


def test_an_installation_that_stays_away_is_given_up(server, conversation, monkeypatch):
    monkeypatch.setattr(once, "AWAY_S", 0.0)
    server.answers.append(SENT)
    server.streams.append([])
    with pytest.raises(Unreachable, match="is kept"):
        exchange(conversation).say("hello")


def test_cancel_takes_the_end_of_an_id_and_refuses_what_fits_several(server, conversation):
    runs = [
        {"run_id": run_id, "kind": "worker", "task": "build", "started_at": 1}
        for run_id in ("aaaa-1111", "aaaa-2222")
    ]
    state = (200, {"seq": 8, "settled": False, "runs": runs})
    server.answers.extend([state, (202, {})])
    assert conversation.cancel("2222") == "aaaa-2222"
    assert server.asked[1].path.endswith("/runs/aaaa-2222/cancel")
    server.answers.append(state)
    with pytest.raises(Rejected, match="aaaa-1111, aaaa-2222"):
        conversation.cancel("aaaa")


def test_following_says_when_the_connection_is_lost_found_and_refused(server, conversation):
    server.streams.extend([[told("reply", 6, text="one")], [told("reply", 7, text="two")]])
    seen: queue.Queue = queue.Queue()
    with Following(conversation, 5, seen.put):
        names = [seen.get(timeout=PATIENCE_S).name for _ in range(5)]
        assert names == ["reply", LOST, FOUND, "reply", LOST]
        assert server.exhausted.wait(PATIENCE_S)


def test_following_starts_over_where_the_log_is_another_one(server, conversation):
    again = [told("restarted"), told("reply", 2, text="anew")]
    server.streams.append(again)
    seen: queue.Queue = queue.Queue()
    with Following(conversation, 50, seen.put):
        assert [seen.get(timeout=PATIENCE_S).name for _ in range(2)] == ["restarted", "reply"]
    assert REFUSED not in [event.name for event in list(seen.queue)]
