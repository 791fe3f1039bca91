"""Processes are told apart by when they started and by what they were started with."""

import os
import subprocess

from services.runtime import processes


def test_a_process_keeps_its_mark_and_another_has_another():
    mine = processes.started(os.getpid())
    assert mine is not None
    assert processes.started(os.getpid()) == mine
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        assert processes.started(other.pid) not in {None, mine}
        other.kill()


def test_a_dead_process_has_no_mark_even_before_its_parent_has_noticed():
    with subprocess.Popen(["/bin/sleep", "60"], stdout=subprocess.PIPE) as process:
        process.kill()
        process.stdout.read()  # closed by its death; nobody has waited for it yet
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert processes.started(process.pid) is None
        assert not processes.has_argument(process.pid, "60")
    assert processes.started(process.pid) is None
    assert not processes.has_argument(process.pid, "60")


def test_an_argument_is_found_whole_or_not_at_all():
    command = ["/bin/sh", "-c", "echo ready; read answer", "a marker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"ready\n"
        assert processes.has_argument(process.pid, "a marker")
        assert not processes.has_argument(process.pid, "a mark")
        process.kill()
