"""Everything is killed while a worker is at a task: the attempt still ends, once."""

import asyncio
import signal
from contextlib import ExitStack

import pytest

from tests.support.command import place

pytestmark = pytest.mark.integration


async def test_an_attempt_whose_process_is_killed_ends_once_after_a_restart(tmp_path):
    here = place(tmp_path)

    def run(*words):
        result = here.run(*words)
        assert result.code == 0, result.out + result.err
        return result

    def tell():
        with ExitStack() as stack:
            process = stack.enter_context(here.up())
            run("task", "create", "run: sleep 5; echo swept")
            run("task", "run", "T1")
            while "tool_called" not in run("events", "--type", "tool_called").out:
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
        with ExitStack() as stack:
            stack.enter_context(here.up())
            while True:
                shown = run("task", "show", "T1", "--json").document["task"]
                if shown["state"] != "in_progress":
                    break
            ends = [
                each["type"]
                for each in run("task", "history", "T1", "--json").document
                if each["type"] == "task_attempt_ended"
            ]
            return shown, ends

    shown, ends = await asyncio.to_thread(tell)
    assert len(ends) == 1
    (attempt,) = shown["attempts"]
    assert attempt["outcome"] is not None
    assert shown["state"] == ("done" if attempt["outcome"] == "succeeded" else "backlog")
