"""`penstock up`, `infra` and `run` as processes: started, refused, killed, stopped."""

import json
import os
import shutil
import signal
import socket
from contextlib import suppress
from time import monotonic

import psycopg
import pytest

from services.runtime import instance
from services.runtime.registry import SERVICES
from tests.support.command import place

pytestmark = pytest.mark.integration


@pytest.fixture
def here(tmp_path):
    return place(tmp_path)


def test_up_drains_at_a_signal_and_leaves_nothing_behind(here):
    with here.up() as process:
        found = instance.find(here.data_dir)
        assert found is not None
        began = monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert monotonic() - began < 10
    assert instance.find(here.data_dir) is None
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", here.port), timeout=1).close()


def test_down_stops_it_and_then_finds_nothing(here):
    with here.up() as process:
        assert here.run("down").code == 0
        assert process.wait(5) == 0
    assert here.run("down").code == 3


def test_a_second_one_on_the_same_directory_is_told_about_the_first(here):
    with here.up() as process:
        second = here.run("up", "--port", str(here.port + 1))
        assert second.code == 1
        assert f"process {process.pid}" in second.err
        third = here.run("infra")
        assert third.code == 1


def test_a_taken_port_is_named_before_anything_is_started(here):
    with socket.create_server(("127.0.0.1", here.port)):
        said = here.run("up", "--port", str(here.port))
    assert said.code == 1
    assert str(here.port) in said.err
    assert "--port" in said.err
    assert not (here.data_dir / "nats").exists()


def test_a_message_survives_kill_nine_of_everything(here):
    with here.up() as process:
        assert here.run("chat", "-m", "remember that our release day is Thursday").code == 0
        process.kill()
        process.wait()
        gone = here.run("chat", "-m", "hello")
        assert gone.code == 3
        assert "penstock up" in gone.err
    with here.up():
        said = here.run("chat", "--conversation", "other", "-m", "when is our release day?")
        assert "Thursday" in said.out


def test_what_is_said_is_remembered_without_asking_also_over_kill_nine(here):
    """Killed as soon as a look is requested; what was to be saved is saved, once."""

    def persistence():
        selected = ("--conversation", "terminal", "--type", "branch_requested")
        lines = here.run("events", *selected, "--json").lines
        told = [line["event"]["data"] for line in lines]
        return [event for event in told if event.get("purpose") == "persistence"]

    def memories():
        return [line["text"] for line in here.run("memory", "list", "--json").document]

    deadline = monotonic() + 120
    with here.up(PENSTOCK_PERSISTENCE_IDLE_S="1") as process:
        said = here.run("chat", "-m", "By the way, our staging server is called Heron.")
        assert said.code == 0
        while not persistence():
            assert monotonic() < deadline
        process.kill()
        process.wait()
    with here.up(PENSTOCK_PERSISTENCE_IDLE_S="1"):
        while not memories():
            assert monotonic() < deadline
        question = ("-m", "what is our staging server called?")
        assert "Heron" in here.run("chat", "--conversation", "other", *question).out
        assert memories() == ["Our staging server is called Heron."]
        assert len(persistence()) == 1
        assert "memory_receipt" in here.run("trace", "terminal").out


def test_a_signal_during_the_start_ends_it_in_order(here):
    with here.running("up", "--port", str(here.port)) as process:
        while not (here.data_dir / "nats").exists():
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "Ready" not in out


def test_log_lines_go_to_the_file_and_not_to_the_terminal(here):
    with here.running("up", "--port", str(here.port)) as process:
        line = process.stdout.readline()
        while "Ready" not in line:
            assert process.poll() is None
            line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert out.strip() == "Stopped."
    assert err == ""
    lines = (here.data_dir / "logs" / "penstock.log").read_text().splitlines()
    assert "process.ready" in [json.loads(each)["event"] for each in lines]
    assert (here.data_dir.stat().st_mode & 0o777) == 0o700


def test_services_run_apart_on_the_servers_of_infra(here):
    with here.running("infra", "--json") as infra:
        urls = json.loads(infra.stdout.readline())
        assert urls["nats_url"].startswith("nats://")
        alone = here.run("status")
        assert alone.code == 1
        assert "only the servers run" in alone.out
        unmade = here.run("memory", "list")
        assert unmade.code == 3
        assert "no event log yet" in unmade.err
        names = SERVICES
        variables = {"PENSTOCK_PORT": str(here.port)}
        with here.running("run", *names, "--json", **variables) as services:
            line = ""
            while "services.started" not in line:
                assert services.poll() is None, services.stderr.read()
                line = services.stdout.readline()
            url = f"http://127.0.0.1:{here.port}"
            token = (here.data_dir / "api-token").read_text()
            client = {"PENSTOCK_URL": url, "PENSTOCK_TOKEN": token}
            said = here.run("chat", "-m", "run: echo apart", **client)
            assert said.code == 0, said.err
            assert "apart" in said.out
            services.send_signal(signal.SIGTERM)
            services.communicate(timeout=20)
            assert services.returncode == 0
        infra.send_signal(signal.SIGINT)
        infra.communicate(timeout=20)
        assert infra.returncode == 0


def test_where_both_servers_are_elsewhere_there_is_no_infra_to_run(here):
    elsewhere = {
        "PENSTOCK_NATS_URL": "nats://127.0.0.1:9",
        "PENSTOCK_DATABASE_URL": "postgresql://127.0.0.1:9/x",
    }
    assert here.run("infra", **elsewhere).code == 2
    unreachable = here.run("events", **elsewhere)
    assert unreachable.code == 3
    assert "NATS" in unreachable.err
    assert here.run("chat", "-m", "hello", **elsewhere).code == 3


def test_a_wrong_setting_stops_every_command_with_two(here):
    wrong = here.run("status", PENSTOCK_PROT="1")
    assert wrong.code == 2
    assert "PENSTOCK_PORT" in wrong.err
    assert here.run("config", "check", PENSTOCK_PROT="1").code == 2
    shown = here.run("config", "show", OPENAI_API_KEY="sk-swordfish")
    assert shown.code == 0
    assert "swordfish" not in shown.out


def test_what_was_exported_is_appended_once_to_another_installation(here, tmp_path_factory):
    path = str(here.cwd / "all.zst")
    with here.up():
        assert here.run("chat", "-m", "remember that our release day is Thursday").code == 0
        exported = here.run("export", path, "--json").document
    other = place(tmp_path_factory.mktemp("other"))
    with other.running("infra", "--json") as infra:
        assert infra.stdout.readline()
        first = other.run("import", path, "--json").document
        assert (first["appended"], first["known"]) == (exported["events"], 0)
        second = other.run("import", path, "--json").document
        assert (second["appended"], second["known"]) == (0, exported["events"])
        assert "Thursday" in other.run("trace", "terminal").out
    damaged = here.cwd / "damaged.zst"
    damaged.write_bytes((here.cwd / "all.zst").read_bytes()[:-40])
    with other.up():
        assert other.run("import", str(damaged)).code == 1
        question = ("-m", "when is our release day?", "--timeout", "20")
        said = other.run("chat", "--conversation", "new", *question)
        assert said.code == 0, other.run("trace", "new").out + said.err
        assert "Thursday" in said.out


def test_a_hole_in_the_archive_is_found_and_filled_from_the_log(here):
    with here.up():
        assert here.run("chat", "-m", "hello").code == 0
        found = instance.find(here.data_dir)
        with psycopg.connect(found.database_url, autocommit=True) as conn:
            gone = 0
            while gone < 2:  # the table is there, and an event in it, a moment after the event
                with suppress(psycopg.errors.UndefinedTable):
                    gone += conn.execute("DELETE FROM archive WHERE seq IN (2, 3)").rowcount
        broken = here.run("verify")
        assert broken.code == 1
        assert "2 to 3 (2): only in the log" in broken.out
        repaired = here.run("verify", "--repair", "archive", "--json")
        assert repaired.code == 0
        assert repaired.document["restored"] == 2


def test_a_log_that_was_lost_is_restored_from_its_archive(here):
    with here.up():
        assert here.run("chat", "-m", "remember that our release day is Thursday").code == 0
        before = here.run("events", "--limit", "0", "--json").lines
    shutil.rmtree(here.data_dir / "nats" / "store")
    with here.running("infra", "--json") as infra:
        assert infra.stdout.readline()
        restored = here.run("verify", "--repair", "log", "--json")
        assert restored.code == 0, restored.err
        assert restored.document["restored"] >= len(before)  # the cortex may have added to it
        assert here.run("events", "--limit", "0", "--json").lines[: len(before)] == before
    with here.up():
        said = here.run("chat", "--conversation", "other", "-m", "when is our release day?")
        assert "Thursday" in said.out
