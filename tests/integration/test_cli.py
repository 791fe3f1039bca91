"""Commands against a real installation: what a person does on the first day."""

import contextlib
import os
import pty
import select
import signal
import subprocess
from time import monotonic

import pytest

from projections.registry import BY_NAME
from services.runtime.registry import SERVICES
from tests.support.command import environment, place

pytestmark = pytest.mark.integration

DAY = "remember that our release day is Thursday"


@pytest.fixture(scope="module")
def penstock(tmp_path_factory):
    here = place(tmp_path_factory.mktemp("cli"))
    with here.up():
        said = here.run("chat", "-m", DAY)
        assert said.code == 0, said.err
        yield here


def test_what_was_said_in_one_conversation_is_known_in_another(penstock):
    said = penstock.run("chat", "--conversation", "other", "-m", "when is our release day?")
    assert said.code == 0
    assert "Thursday" in said.out


def test_a_command_is_run_by_a_worker_and_its_output_comes_back(penstock):
    said = penstock.run("chat", "--conversation", "work", "-m", "run: uname -s")
    assert said.code == 0
    assert "Linux" in said.out
    tree = penstock.run("trace", "work").out
    for part in ("worker ", "tool shell, ok", "model offline/rules", "reply: "):
        assert part in tree


def test_what_was_recorded_is_decided_again_from_the_log_and_from_a_file(penstock, tmp_path):
    said = penstock.run("chat", "--conversation", "again", "-m", "run: echo once")
    assert said.code == 0
    found = penstock.run("replay", "--all", "--json")
    assert found.code == 0, found.out + found.err
    runs = found.document["runs"]
    kinds = {run["kind"] for run in runs}
    assert kinds >= {"turn", "branch", "worker"}  # and what the cortex has done by then
    assert not [run for run in runs if run["divergence"] or run["problem"]]
    one = penstock.run("replay", runs[-1]["run_id"])
    assert one.code == 0
    assert "1 run of 1 decided the same" in one.out
    file = tmp_path / "all.zst"
    assert penstock.run("export", str(file)).code == 0
    elsewhere = place(tmp_path)
    from_file = elsewhere.run("replay", "--all", "--file", str(file), "--json")
    assert from_file.code == 0
    from_file_ids = {run["run_id"] for run in from_file.document["runs"]}
    assert {run["run_id"] for run in runs} <= from_file_ids  # what is due by itself goes on


def test_chat_that_does_not_settle_in_time_says_what_runs(penstock):
    said = penstock.run("chat", "--conversation", "slow", "-m", "run: sleep 5", "--timeout", "1.5")
    assert said.code == 1
    assert "not settled" in said.err
    assert "Worker " in said.err


def test_lines_of_a_pipe_are_answered_one_after_the_other(penstock):
    said = penstock.run("chat", "--conversation", "pipe", stdin="hello\n/status\n/quit\nnever\n")
    assert said.code == 0
    assert "Nothing runs." in said.out
    events = penstock.run("events", "--conversation", "pipe", "--type", "message_received")
    assert len(events.out.splitlines()) == 1


def test_chat_with_json_is_lines_that_end_with_the_settlement(penstock):
    lines = penstock.run("chat", "--conversation", "json", "-m", "hello", "--json").lines
    assert [lines[0]["event"], lines[-1]["event"]] == ["sent", "settled"]
    assert any(line["event"] == "reply" for line in lines)


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--agent", "nobody"], "no agent 'nobody'"), (["--conversation", "x" * 99], "named")],
)
def test_a_message_that_cannot_be_taken_says_why(penstock, words, says):
    said = penstock.run("chat", "-m", "hello", *words)
    assert said.code == 1
    assert says in said.err


def test_status_finds_everything_running(penstock):
    found = penstock.run("status", "--json")
    assert found.code == 0, found.out
    status = found.document
    assert status["troubles"] == []
    loops = {loop["name"] for process in status["processes"] for loop in process["loops"]}
    assert {*SERVICES} <= loops
    assert [server["state"] for server in status["processes"][0]["servers"]] == ["running"] * 2
    assert "projector" in penstock.run("status").out


def test_doctor_finds_nothing_that_fails(penstock):
    found = penstock.run("doctor", "--json")
    levels = {each["name"]: each["level"] for each in found.document["findings"]}
    assert levels["nats"] == levels["postgres server"] == levels["port"] == "ok"
    assert found.code == 0


def test_doctor_never_shows_a_key(penstock):
    found = penstock.run("doctor", OPENAI_API_KEY="sk-swordfish")
    assert "a key for openai is set" in found.out
    assert "swordfish" not in found.out + found.err


def test_events_lists_the_newest_and_follows_from_a_sequence(penstock):
    newest = penstock.run("events", "--limit", "3", "--json").lines
    assert [later["seq"] - newest[0]["seq"] for later in newest] == [0, 1, 2]
    first = penstock.run("events", "--after", "1", "--limit", "2", "--json").lines
    assert [event["seq"] for event in first] == [2, 3]
    assert first[0]["event"]["data"]["text"] == DAY


def test_events_follows_what_happens(penstock):
    words = ("events", "--follow", "--conversation", "followed", "--json")
    with penstock.running(*words) as following:
        penstock.run("chat", "--conversation", "followed", "-m", "hello")
        assert '"message_received"' in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130
        assert following.stderr.read() == ""


def test_a_reader_that_has_seen_enough_is_no_error(penstock):
    words = subprocess.list2cmdline(penstock.arguments("events", "--limit", "0"))
    shell = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", f"{words} | head -1"],
        cwd=penstock.cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (shell.returncode, shell.stderr) == (0, "")


def test_a_trace_of_a_turn_shows_that_turn(penstock):
    (root,) = penstock.run("trace", "terminal", "--json").document["roots"]
    turn = root["children"][0]["id"]
    (found,) = penstock.run("trace", turn, "--json").document["roots"]
    assert found["text"] == root["text"]
    assert [child["id"] for child in found["children"]] == [turn]


def test_a_trace_of_something_unknown_is_refused(penstock):
    for unknown in ("nowhere", "01a1fd9b-8ff7-7f00-a790-000000000000"):
        said = penstock.run("trace", unknown)
        assert said.code == 1
        assert unknown in said.err


def test_a_person_can_save_find_and_forget_a_memory(penstock):
    saved = penstock.run("memory", "save", "The office is in Bern", "--json").document
    found = penstock.run("memory", "recall", "office", "--json")
    assert [memory["memory_id"] for memory in found.document] == [saved["memory_id"]]
    assert penstock.run("memory", "forget", saved["memory_id"]).code == 0
    assert penstock.run("memory", "recall", "office").code == 1
    listed = penstock.run("memory", "list").out
    assert "Thursday" in listed or "release day" in listed
    assert penstock.run("memory", "forget", saved["memory_id"]).code == 1


def test_what_one_person_said_alone_no_other_person_is_told(penstock):
    asked = ("chat", "--author", "stranger", "-m", "when is our release day?")
    said = penstock.run(*asked, "--conversation", "strangers")
    assert said.code == 0
    assert "Thursday" not in said.out
    in_public = penstock.run("chat", "-m", asked[-1], "--conversation", "public", "--group")
    assert "Thursday" not in in_public.out


def test_a_person_asks_what_is_known_and_corrects_and_forgets_it(penstock):
    def chat(text):
        return penstock.run("chat", "--author", "eve", "--conversation", "eves", "-m", text).out

    chat("remember that the wifi password is swordfish")
    assert "swordfish" in chat("what do you know about me?")
    assert "Corrected" in chat("actually, the wifi password is herring")
    about = chat("what do you know about me?")
    assert "herring" in about
    assert "swordfish" not in about
    assert "Forgotten" in chat("forget that the wifi password is herring")
    assert "I remember nothing of you" in chat("what do you know about me?")
    assert "herring" not in penstock.run("memory", "list", "--person", "eve").out
    assert "swordfish" in penstock.run("memory", "list", "--person", "eve", "--all").out


def test_the_gate_holds_at_the_command_line_too(penstock):
    first = penstock.run("memory", "save", "The lift is in repair.", "--json").document
    again = penstock.run("memory", "save", "the lift is in repair", "--json").document
    assert again["memory_id"] == first["memory_id"]
    denied = penstock.run("memory", "save", "The lift is not in repair.", "--json").document
    assert denied["replaces"] == [{"memory_id": first["memory_id"], "why": "contradiction"}]


def test_what_is_remembered_of_a_person_can_be_listed_corrected_exported_and_forgotten(penstock):
    of = ("--person", "flo")
    for text in ("Flo likes tea.", "Flo lives in Bern."):
        saved = penstock.run("memory", "save", text, *of, "--scope", "person", "--json").document
    assert penstock.run("memory", "correct", saved["memory_id"], "x", "--person", "eve").code == 1
    right = penstock.run("memory", "correct", saved["memory_id"], "Flo lives in Basel.", *of)
    assert right.code == 0, right.err
    listed = penstock.run("memory", "list", *of, "--json").document
    assert [one["text"] for one in listed] == ["Flo lives in Basel.", "Flo likes tea."]
    named = penstock.run("memory", "list", *of, "--text", "Basel", "--scope", "person", "--json")
    assert named.document == listed[:1]
    shown = penstock.run("memory", "show", listed[0]["memory_id"], *of)
    assert shown.out.startswith("Flo lives in Basel.\n")
    assert f"updates {saved['memory_id']}" in shown.out
    assert "Flo lives in Bern." in shown.out.partition("Before and after it:")[2]
    assert penstock.run("memory", "show", saved["memory_id"], "--person", "eve").code == 1
    markdown = penstock.run("memory", "export", *of).out
    assert "# What is remembered of portal:flo" in markdown
    assert "## No longer valid\n\n- Flo lives in Bern." in markdown
    exported = penstock.run("memory", "export", *of, "--json").document
    assert [one["replaced_by"] is None for one in exported["memories"]] == [True, False, True]
    assert penstock.run("memory", "forget", *of).code == 1
    assert penstock.run("memory", "forget", *of, "--all").code == 0
    assert "Nothing." in penstock.run("memory", "export", *of).out


def test_people_are_linked_across_platforms(penstock):
    linked = penstock.run("person", "link", "slack:G1", "portal:gil", "--json").document
    assert linked == {"person": "portal:gil", "ids": ["portal:gil", "slack:G1"]}
    of_slack = ("--person", "slack:G1", "--scope", "person")
    assert penstock.run("memory", "save", "Gil plays the cello.", *of_slack).code == 0
    said = penstock.run(
        *("chat", "--author", "gil", "--conversation", "gils", "-m", "what does Gil play?")
    )
    assert "cello" in said.out
    assert "slack:G1" in penstock.run("person", "list").out
    assert penstock.run("person", "unlink", "slack:G1").code == 0
    assert "own" in penstock.run("person", "unlink", "slack:G1").out
    assert "cello" not in penstock.run("memory", "list", "--person", "gil").out
    assert penstock.run("person", "link", "gil", "portal:gil").code == 1


def test_read_models_can_be_checked_and_rebuilt(penstock):
    checked = penstock.run("rebuild", "--check", "--json")
    assert checked.code == 0, checked.out
    assert {each["name"]: each["different"] for each in checked.document} == dict.fromkeys(
        BY_NAME, 0
    )
    assert penstock.run("rebuild", "memories").code == 0
    assert penstock.run("rebuild").code == 2
    assert penstock.run("rebuild", "nothing").code == 1


def test_the_log_and_its_archive_are_the_same(penstock):
    found = penstock.run("verify", "--json")
    assert found.code == 0
    assert found.document["verified"]["gaps"] == []
    refused = penstock.run("verify", "--repair", "log")
    assert refused.code == 1
    assert "stop them" in refused.err


def test_what_was_exported_is_known_when_it_is_imported(penstock):
    path = penstock.cwd / "export.zst"
    manifest = penstock.run("export", str(path), "--conversation", "terminal", "--json").document
    assert manifest["events"] > 5
    assert penstock.run("export", str(path)).code == 1
    imported = penstock.run("import", str(path), "--json").document
    assert (imported["appended"], imported["known"]) == (0, manifest["events"])


def test_nothing_was_given_up_and_nothing_unknown_can_be_retried(penstock):
    assert penstock.run("dead", "list", "--json").document == []
    assert penstock.run("dead", "retry", "turn:unknown").code == 1


def test_the_agent_of_the_configuration_is_listed(penstock):
    assert [agent["id"] for agent in penstock.run("agent", "list", "--json").document] == ["main"]


def test_an_interface_elsewhere_is_used_when_it_is_named(penstock):
    url = f"http://127.0.0.1:{penstock.port}"
    token = (penstock.data_dir / "api-token").read_text()
    elsewhere = place(penstock.cwd / "elsewhere")
    elsewhere.cwd.mkdir()
    words = ("chat", "-m", "hello", "--conversation", "far")
    assert elsewhere.run(*words, PENSTOCK_URL=url, PENSTOCK_TOKEN=token).code == 0
    wrong = elsewhere.run(*words, PENSTOCK_URL=url, PENSTOCK_TOKEN="wrong")
    assert wrong.code == 1
    assert "PENSTOCK_TOKEN" in wrong.err


def read_until(terminal, wanted, timeout_s=20.0):
    seen = b""
    deadline = monotonic() + timeout_s
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - monotonic()))
        assert ready, seen.decode(errors="replace")
        seen += os.read(terminal, 65_536)
        if b"\x1b[6n" in seen:  # it asks where the cursor is
            os.write(terminal, b"\x1b[1;1R")
            seen = seen.replace(b"\x1b[6n", b"")
    return seen


def leave(terminal, process, timeout_s=20.0):
    """Press Ctrl-D until it has an effect: while a line is printed, the terminal swallows it."""
    deadline = monotonic() + timeout_s
    while process.poll() is None:
        assert monotonic() < deadline
        with contextlib.suppress(OSError):  # so a terminal tells that nobody is left
            os.write(terminal, b"\x04")
            while select.select([terminal], [], [], 0.3)[0]:
                os.read(terminal, 65_536)


def test_a_chat_at_a_terminal_answers_and_ends_with_ctrl_d(penstock):
    terminal, child_side = pty.openpty()
    process = subprocess.Popen(
        penstock.arguments("chat", "--conversation", "tty"),
        cwd=penstock.cwd,
        env=environment(TERM="xterm"),
        stdin=child_side,
        stdout=child_side,
        stderr=child_side,
        start_new_session=True,
    )
    os.close(child_side)
    try:
        read_until(terminal, b"ready")
        os.write(terminal, b"hello\r")
        read_until(terminal, b"offline model")
        os.write(terminal, b"/status\r")
        read_until(terminal, b"Nothing runs.")
        leave(terminal, process)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert "+hello" in (penstock.data_dir / "chat_history").read_text()


def test_checkpoints_of_a_short_conversation_are_none(penstock):
    said = penstock.run("checkpoints", "terminal")
    assert said.code == 0
    assert "No checkpoints" in said.out
    assert penstock.run("checkpoints", "terminal", "--json").document == []


def test_checkpoints_of_what_there_is_not_are_refused(penstock):
    assert "knows no conversation" in penstock.run("checkpoints", "nowhere").err
    wrong = penstock.run("checkpoints", "terminal", "--open", "7")
    assert wrong.code == 1
    assert "no checkpoint #7" in wrong.err
