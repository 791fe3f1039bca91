"""`penstock fork` and `penstock diff` against a real installation and a model over HTTP."""

import asyncio
import json
import os
import signal

import pytest
import pytest_asyncio

from tests.support.command import Place, Result, place
from tests.support.openai_server import OpenAIServer
from tests.support.scripts import Answer

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

PROMPT = "You answer as a pirate."
DAWDLES = "dawdle"


def brain(body) -> Answer:
    """Answer with the model's name and the newest thing that a person said."""
    said = [m["content"] for m in body["messages"] if m["role"] == "user"]
    newest = next(text for text in reversed(said) if not text.startswith("[status]"))
    slow = 30.0 if newest.endswith(DAWDLES) and body["model"] == "slow" else 0.0
    return Answer(text=f"{body['model']} on {newest.partition('] ')[2]}", first_after_s=slow)


class Here:
    """An installation, and the model that it asks."""

    def __init__(self, where: Place, server: OpenAIServer) -> None:
        self.where = where
        self.server = server
        self.variables = {
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_API_BASE": server.url,
            "PENSTOCK_MODEL": "openai/one",
        }

    async def run(self, *words: str) -> Result:
        return await asyncio.to_thread(self.where.run, *words)

    def asked(self, model):
        """Return the messages of every request to a model."""
        return [call.body["messages"] for call in self.server.calls if call.body["model"] == model]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def penstock(tmp_path_factory):
    where = place(tmp_path_factory.mktemp("fork"))
    async with OpenAIServer(brain) as server:
        here = Here(where, server)
        up = where.up(**here.variables)
        await asyncio.to_thread(up.__enter__)
        try:
            for text in ("red", "green", "blue"):
                said = await here.run("chat", "-m", text, "--author", "Ana")
                assert said.out == f"one on {text}\n", said.err
            yield here
        finally:
            await asyncio.to_thread(up.__exit__, None, None, None)


async def test_a_conversation_is_forked_at_its_third_message_with_another_model(penstock):
    words = ("fork", "terminal", "--at", "message 3", "--model", "openai/two")
    said = await penstock.run(*words, "--name", "third")
    assert (said.code, said.out) == (0, "two on blue\n")
    assert "fork/third shares portal/terminal up to event" in said.err
    assert "penstock diff terminal fork/third" in said.err
    (there,) = penstock.asked("two")
    original = penstock.asked("one")[2]
    status = [message["content"].startswith("[status]") for message in original].index(True)
    assert there[:status] == original[:status]
    assert [message["content"] for message in there[1:status]] == [
        "[Ana] red",
        "one on red",
        "[Ana] green",
        "one on green",
        "[Ana] blue",
    ]


async def test_the_same_name_again_is_the_same_fork_and_tells_nothing_new(penstock):
    words = ("fork", "terminal", "--at", "message 1", "--name", "twice", "--json")
    first, second = [await penstock.run(*words) for _ in range(2)]
    assert (first.code, second.code) == (0, 0)
    assert [line for line in first.lines if line["event"] == "reply"]
    assert first.lines[0] == second.lines[0]
    listed = await penstock.run("events", "--conversation", "fork/twice", "--limit", "0")
    assert listed.out.count(" conversation_forked ") == 1
    assert listed.out.count(" reply_sent ") == 1
    other = await penstock.run(*words[:2], "--at", "message 2", "--name", "twice")
    assert other.code == 1
    assert "another fork called 'twice'" in other.err


async def test_a_prompt_from_a_file_and_another_message_hold_in_the_fork(penstock, tmp_path):
    file = tmp_path / "pirate.md"
    file.write_text(PROMPT)
    words = ("--at", "message 1", "--prompt", str(file), "--message", "gold", "--name", "pirate")
    said = await penstock.run("fork", "terminal", *words)
    assert (said.code, said.out) == (0, "one on gold\n")
    request = penstock.asked("one")[-1]
    assert PROMPT in request[0]["content"]
    assert [message["content"] for message in request[1:3]] == ["[Ana] red", "[Ana] gold"]
    again = await penstock.run("chat", "--conversation", "fork/pirate", "-m", "more")
    assert again.out == "one on more\n"
    assert PROMPT in penstock.asked("one")[-1][0]["content"]
    home = await penstock.run("chat", "--conversation", "elsewhere", "-m", "home")
    assert home.code == 0
    assert PROMPT not in penstock.asked("one")[-1][0]["content"]


async def test_forks_of_forks_share_the_whole_beginning(penstock):
    begun = await penstock.run("fork", "terminal", "--message", "black", "--name", "first")
    assert begun.out == "one on black\n"
    words = (
        "fork",
        "fork/first",
        "--message",
        "white",
        "--name",
        "second",
        "--model",
        "openai/two",
    )
    assert (await penstock.run(*words)).out == "two on white\n"
    texts = [message["content"] for message in penstock.asked("two")[-1]]
    assert [text for text in texts if text.startswith("[") and "status" not in text] == [
        *("[Ana] red", "[Ana] green", "[Ana] blue", "[Ana] black", "[Ana] white")
    ]


async def test_both_are_shown_side_by_side_from_where_they_part(penstock):
    words = ("fork", "terminal", "--at", "message 2", "--model", "openai/two", "--name", "side")
    assert (await penstock.run(*words)).code == 0
    found = (await penstock.run("diff", "terminal", "fork/side", "--json")).document
    assert found["b"]["model"] == "openai/two"
    rows = found["rows"]
    assert [row["a"]["replies"] for row in rows] == [["one on green"], ["one on blue"]]
    assert rows[0]["b"]["replies"] == ["two on green"]
    assert rows[0]["b"]["models"] == ["openai/two"]
    assert rows[1]["b"] is None
    assert rows[0]["a"]["input_tokens"] > 0
    shown = (await penstock.run("diff", "terminal", "fork/side")).out
    for part in ("portal/terminal", "fork/side, model openai/two", "> one on green", "> two on"):
        assert part in shown
    assert "(nothing more)" in shown


async def test_a_fork_is_traced_explained_replayed_and_listed(penstock):
    begun = await penstock.run("fork", "terminal", "--at", "message 2", "--name", "seen")
    assert begun.code == 0
    (root,) = (await penstock.run("trace", "fork/seen", "--json")).document["roots"]
    (turn,) = root["children"]
    assert (root["kind"], turn["kind"]) == ("fork", "turn")
    replayed = await penstock.run("replay", turn["id"])
    assert (replayed.code, "1 run of 1 decided the same" in replayed.out) == (0, True)
    why = await penstock.run("why", turn["id"], "--json")
    assert (why.code, why.document["standing"]) == (0, "answered"), why.err
    assert (await penstock.run("rebuild", "--check")).code == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("nowhere",), 1, "has no conversation portal/nowhere"),
        (("terminal", "--agent", "nobody"), 1, "no agent 'nobody'"),
        (("terminal", "--at", "0"), 1, "begins at event"),
        (("terminal", "--at", "99999999"), 1, "ends at event"),
        (("terminal", "--at", "message 99"), 1, "people said 3"),
        (("terminal", "--at", "soon"), 1, "'soon' is none"),
        (("terminal",), 1, "say what"),
        (("terminal", "--prompt", "there-is-none.md"), 1, "No such file"),
        (("terminal", "--message", "x", "--name", "y" * 80), 1, "name"),
    ],
)
async def test_what_cannot_be_forked_says_why(penstock, words, code, says):
    said = await penstock.run("fork", *words)
    assert (said.code, said.out) == (code, "")
    assert says in said.err


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("terminal", "nowhere", "no conversation portal/nowhere"),
        ("terminal", "elsewhere", "share no history"),
    ],
)
async def test_what_cannot_be_compared_says_why(penstock, one, other, says):
    await penstock.run("chat", "--conversation", "elsewhere", "-m", "hello")
    said = await penstock.run("diff", one, other)
    assert said.code == 1
    assert says in said.err


async def test_a_killed_installation_goes_on_with_the_fork_and_answers_once(tmp_path):
    where = place(tmp_path)
    async with OpenAIServer(brain) as server:
        here = Here(where, server)
        words = ("fork", "terminal", "--at", "message 1", "--model", "openai/slow")
        words = (*words, "--message", DAWDLES, "--name", "there")
        up = where.up(**here.variables)
        process = await asyncio.to_thread(up.__enter__)
        assert (await here.run("chat", "-m", "red", "--author", "Ana")).code == 0
        asked = len(server.calls)
        forking = asyncio.create_task(here.run(*words, "--timeout", "5"))
        await server.called(asked + 1)
        os.kill(process.pid, signal.SIGKILL)
        await forking
        await asyncio.to_thread(up.__exit__, None, None, None)
        server.brain = lambda body: Answer(text=f"{body['model']} answers")
        up = where.up(**here.variables)
        await asyncio.to_thread(up.__enter__)
        try:
            again = await here.run(*words)
            assert (again.code, again.out) == (0, "slow answers\n")
            listed = await here.run("events", "--conversation", "fork/there", "--json")
            types = [json.loads(line)["event"]["type"] for line in listed.out.splitlines()]
        finally:
            await asyncio.to_thread(up.__exit__, None, None, None)
    assert types.count("conversation_forked") == 1
    assert types.count("message_received") == 1
    assert types.count("reply_sent") == 1
    assert types.count("turn_completed") == 1
