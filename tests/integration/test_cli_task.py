"""`penstock task` and `penstock goal` on a whole installation, as a person would use them."""

import asyncio
import json
from contextlib import ExitStack

import pytest

from tests.support.command import place

pytestmark = pytest.mark.integration


async def test_a_person_plans_approves_runs_and_closes(tmp_path):  # noqa: PLR0915 - one day in the life of two tasks
    here = place(tmp_path)
    with ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, here.up())

        def run(*words, code=0):
            result = here.run(*words)
            assert result.code == code, result.out + result.err
            return result

        def go():  # noqa: PLR0915 - see above
            assert (
                "G1 no loss (open, due 2027-01-31)"
                in run("goal", "create", "no loss", "--due", "2027-01-31").out
            )
            out = run("task", "create", "look", "--step", "a", "--step", "b", "--goal", "G1").out
            assert "T1 look (ready)" in out
            made = run("task", "create", "run: echo act", "--after", "1", "--json").document
            assert (made["task"]["state"], made["waiting_for"]) == ("backlog", ["T1"])
            assert "T2 waits for T1" in run("task", "queue", "T2", code=1).err
            assert "in the end" in run("task", "block", "T1", "T2", code=1).err
            run("task", "start", "t1")
            assert "1. [x] a" in run("task", "plan", "T1", "--done", "1").out
            run("task", "comment", "T1", "half of it")
            refused = run("task", "approve", "T1", code=1).err
            assert "T1 is in_progress" in refused
            assert "but: done, defer" in refused
            run("task", "done", "T1", "--reason", "seen")
            assert "T2 run: echo act (ready)" in run("task", "queue", "T2").out
            assert "in_progress" in run("task", "run", "T2").out
            ended = None
            while ended in {None, "in_progress"}:
                shown = run("task", "show", "T2", "--json").document
                ended = shown["task"]["state"]
            assert ended == "done", json.dumps(shown)
            assert "act" in shown["task"]["attempts"][0]["result"]
            assert run("task", "list").out.strip() == "No task."
            rows = run("task", "list", "--all", "--json").document
            assert {row["task_id"] for row in rows} == {"T1", "T2"}
            assert run("task", "list", "--state", "done", "--goal", "G1", "--json").document
            told = run("task", "history", "1").out
            assert "task_completed" in told
            assert "reason: seen" in told
            run("task", "reopen", "T1")
            run("task", "edit", "T1", "--title", "look again", "--priority", "urgent")
            run("task", "cancel", "T1")
            shown = run("goal", "show", "1").out
            assert "T1 look again (cancelled)" in shown
            run("goal", "comment", "G1", "almost")
            run("goal", "edit", "G1", "--title", "no loss ever")
            assert "achieved" in run("goal", "achieve", "G1").out
            assert run("goal", "list").out.strip() == "No goal."
            assert "no loss ever" in run("goal", "list", "--all").out
            assert "goal_closed" in run("goal", "history", "G1").out
            assert "there is no task" in run("task", "show", "T9", code=1).err

        await asyncio.to_thread(go)
