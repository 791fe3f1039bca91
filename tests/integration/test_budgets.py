"""Budgets of a whole installation, by the command line: used, shown, refused, explained."""

import asyncio
from contextlib import ExitStack

import pytest

from tests.support.command import place

pytestmark = pytest.mark.integration

CONFIG = """
model = "offline/rules"

[persistence]
enabled = false

[budgets.team]
per = "day"
usd = 5.0
calls = 3

[budgets.tick]
per = "day"
agent = "main"
job = "tick"
calls = 1
"""


async def test_a_budget_is_used_shown_refused_and_explained(tmp_path):
    here = place(tmp_path)
    (here.cwd / "penstock.toml").write_text(CONFIG)

    async def run(*words):
        return await asyncio.to_thread(here.run, *words)

    with ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, here.up())
        shown = await run("budgets", "--json")
        assert shown.code == 0, shown.err
        limits = {(it["budget"], it["unit"]): it for it in shown.document}
        assert {key: it["left"] for key, it in limits.items()} == {
            ("team", "usd"): 5.0,
            ("team", "calls"): 3.0,
            ("tick", "calls"): 1.0,
        }

        made = await run(
            *("job", "create", "tick", "--every", "1s", "--grace", "1s", "--prompt", "say tick")
        )
        assert made.code == 0, made.err
        skipped = []
        async with asyncio.timeout(60):
            while not skipped:
                found = await run("why", "tick", "--json")
                skipped = [it for it in found.document["lines"] if it["verdict"] == "skipped"]
        assert "budget tick is used up: 1 of 1 model calls a day" in skipped[0]["why"]
        await run("job", "pause", "tick")

        for _ in range(2):
            said = await run("chat", "-m", "hello")
            assert "used up" not in said.out
        refused = await run("chat", "-m", "hello once more")
        assert "the budget team is used up until" in refused.out

        shown = await run("budgets")
        assert shown.code == 1
        assert "3 model calls a day" in shown.out
        assert "what people asked of main: 2" in shown.out

        message = await run("events", "--type", "message_received", "--json", "--limit", "1")
        found = await run("why", message.lines[0]["event"]["id"])
        assert "no model was asked about it: budget team is used up" in found.out
        replayed = await run("replay", "--all")
        assert replayed.code == 0, replayed.out + replayed.err
        verified = await run("rebuild", "jobs", "runs", "--check")
        assert verified.code == 0, verified.out + verified.err
