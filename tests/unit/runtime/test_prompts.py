"""System prompts are the same bytes every time; what changes is in the note."""

import re
from importlib.resources import files

import pytest

from services.branch.tools import TOOLS as BRANCH_TOOLS
from services.channel.tools import TOOLS as CHANNEL_TOOLS
from services.runtime import prompts
from services.runtime.agents import Agent
from services.runtime.model import ToolSpec
from services.worker.service import WORKER_TOOLS
from tests.support.fake_clock import FakeClock

FILES = {
    "channel": ("services.channel", "channel.md", CHANNEL_TOOLS),
    "branch": ("services.branch", "branch.md", BRANCH_TOOLS),
    "worker": ("services.worker", "worker.md", WORKER_TOOLS),
}


def test_a_prompt_says_who_the_agent_is_then_its_instructions_then_how_it_works():
    agent = Agent("acme", "atlas", "Atlas", "Be brief.\n")
    assert prompts.system_prompt(agent, "# How you work") == (
        "# Who you are\n\nYou are Atlas.\n\nBe brief.\n\n# How you work"
    )


def test_an_agent_without_instructions_leaves_no_gap():
    agent = Agent("acme", "atlas", "Atlas", "  \n")
    assert prompts.system_prompt(agent, "X") == "# Who you are\n\nYou are Atlas.\n\nX"


@pytest.mark.parametrize("kind", FILES)
def test_a_prompt_file_begins_with_its_version_which_no_model_sees(kind):
    package, name, _ = FILES[kind]
    text = files(package).joinpath("prompts", name).read_text(encoding="utf-8")
    assert re.match(r"<!-- version: [1-9][0-9]* -->\n# ", text)
    loaded = prompts.load(package, name)
    assert loaded == text.partition("\n")[2].strip()
    assert "<!--" not in loaded


@pytest.mark.parametrize("kind", FILES)
def test_a_prompt_speaks_only_of_tools_that_there_are(kind):
    package, name, tools = FILES[kind]
    spoken = set(re.findall(r"`([a-z]+_[a-z_]+)`", prompts.load(package, name)))
    words = {"tool_calls", "in_progress"}
    assert spoken - words <= {tool.name for tool in tools}


def test_the_time_is_told_to_the_minute_in_utc():
    assert prompts.time_note(FakeClock(1_700_000_000_000_000)) == (
        "[status] It is Tuesday, 2023-11-14 22:13 UTC."
    )


def test_the_tool_list_is_kept_in_one_spelling():
    one = ToolSpec(name="a", description="b", parameters={"x": 1, "y": 2})
    other = ToolSpec(name="a", description="b", parameters={"y": 2, "x": 1})
    assert prompts.tools_text((one,)) == prompts.tools_text((other,))
    assert prompts.digest("a") != prompts.digest("b")
