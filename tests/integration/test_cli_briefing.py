"""`penstock briefing` against a real installation: what an agent has in mind, also after a kill."""

from time import monotonic, sleep

import msgspec
import pytest

from schemas.cortex import BriefingWritten, Layer, PersonKnown
from schemas.subjects import Subject
from services.runtime import prompts
from services.runtime.agents import Agent
from services.runtime.briefings import shown
from tests.support.command import place

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0  # the cortex looks every 15 s
DAY = "our release day is Thursday"


@pytest.fixture(scope="module")
def penstock(tmp_path_factory):
    here = place(tmp_path_factory.mktemp("briefing"))
    with here.up() as process:
        nothing = here.run("briefing")
        assert here.run("memory", "save", DAY, "--importance", "0.9").code == 0
        yield here, process, nothing


def wait_for_briefing(here):
    """Return the briefing as soon as there is one."""
    deadline = monotonic() + PATIENCE_S
    while (said := here.run("briefing", "--json")).code != 0 and monotonic() < deadline:
        sleep(0.2)  # there is no event to wait for: this is a command of its own
    return said


def test_before_anything_happened_there_is_none(penstock):
    _, _, nothing = penstock
    assert nothing.code == 1
    assert "No briefing yet" in nothing.out


def test_an_agent_that_is_not_there_has_none(penstock):
    here, _, _ = penstock
    said = here.run("briefing", "--agent", "nobody")
    assert said.code == 1
    assert "no agent 'nobody'" in said.err


def test_what_was_saved_is_in_mind_and_stays_so_after_kill_nine(penstock):
    here, process, _ = penstock
    written = wait_for_briefing(here).document
    lines = [line["text"] for layer in written["layers"] for line in layer["lines"]]
    assert f'fact: "{DAY}"' in lines
    said = here.run("briefing")
    assert said.code == 0
    assert f'- fact: "{DAY}"' in said.out
    assert here.run("status").code == 0
    process.kill()
    process.wait()
    with here.up():
        assert here.run("briefing", "--json").document["id"] == written["id"]
        assert here.run("chat", "-m", "hello").code == 0
        assert len(here.run("events", "--type", "briefing_written", "--json").lines) == 1
        (called,) = here.run("events", "--type", "model_called", "--json").lines
        assert called["event"]["data"]["prompt"] == prompts.digest(system_prompt(written))


def system_prompt(written):
    """Return what the conversation's model must have been shown."""
    layers = msgspec.convert(written["layers"], tuple[Layer, ...])
    people = msgspec.convert(written["people"], tuple[PersonKnown, ...])
    briefing = BriefingWritten(layers=layers, people=people)
    return prompts.system_prompt(
        Agent("default", "main", "main"),
        prompts.load("services.channel", "channel.md"),
        shown(briefing, Subject("default", "main", "portal", "terminal")),
    )
