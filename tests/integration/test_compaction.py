"""Without a key and without a second process: a long talk is compacted, and can be read back."""

import asyncio

import pytest

from tests.support.command import place
from tests.support.servers import until

pytestmark = pytest.mark.integration

LINES = [f"well, what about plan {number}?" for number in range(8)]


async def test_a_long_talk_is_compacted_by_the_offline_model_and_can_be_read_back(tmp_path):
    here = place(tmp_path)
    with here.up(PENSTOCK_CHANNEL_HISTORY_ENTRIES="8"):
        said = here.run("chat", stdin="\n".join(LINES))
        assert said.code == 0, said.err

        async def cut():
            return (await asyncio.to_thread(here.run, "checkpoints", "terminal", "--json")).document

        await until(cut, timeout_s=60)
        listed = here.run("checkpoints", "terminal", "--json").document
        assert (listed[0]["number"], listed[0]["kind"]) == (1, "interval")
        assert listed[0]["model"] == "offline/rules"
        table = here.run("checkpoints", "terminal").out
        assert "interval" in table
        opened = here.run("checkpoints", "terminal", "--open", "1").out
        assert "Chosen by rules" in opened
        assert "plan 0" in opened
        expanded = here.run("checkpoints", "terminal", "--expand", "1").out
        assert f"] {LINES[0]}" in expanded
        entries = here.run("checkpoints", "terminal", "--expand", "1", "--json").document["entries"]
        assert len(entries) == listed[0]["entries"]
        assert "compaction" in here.run("trace", "terminal", "--limit", "0").out
        again = here.run("chat", "-m", "hello")
        assert "Hello" in again.out
        checked = here.run("rebuild", "--check")
        assert checked.code == 0, checked.out
