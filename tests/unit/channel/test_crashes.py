"""Whatever dies at whatever point of a turn: the conversation goes as if nothing had happened."""

import pytest

from tests.support.crashes import Scenario, at_every_point, channel_story, saying, tell
from tests.support.scripted_model import by_prompt, calls, does, says

REPLY = Scenario(by_prompt({"hello": [does(calls("reply", text="hi"))]}), saying("hello"))
REACT_AND_TALK = Scenario(
    by_prompt({"thanks": [says("You are", calls("react", emoji="👍")), says("You are welcome.")]}),
    saying("thanks"),
)
DELEGATE = Scenario(
    by_prompt(
        {
            "[Ana] what day": [
                does(calls("branch", task="find the day"), calls("reply", text="I look."))
            ],
            "[task] find the day": [says("It is Thursday.")],
            "[result of branch": [does(calls("reply", text="Thursday."))],
        }
    ),
    saying("what day"),
)
SILENCE = Scenario(by_prompt({"psst": [does(calls("skip", reason="not for me"))]}), saying("psst"))
TWICE = Scenario(
    by_prompt(
        {
            "hello": [does(calls("reply", text="hi"))],
            "again": [says("Hi again.")],
        }
    ),
    saying("hello", "again"),
)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(REPLY, id="a reply"),
        pytest.param(REACT_AND_TALK, id="a reaction and text"),
        pytest.param(DELEGATE, id="a branch and a reply"),
        pytest.param(SILENCE, id="silence"),
        pytest.param(TWICE, id="one turn after another"),
    ],
)
async def test_a_crash_at_any_point_of_a_turn_changes_nothing(scenario, tmp_path):
    assert await at_every_point(scenario, tmp_path) >= 12


async def test_the_undisturbed_story(tmp_path):
    told = await tell(DELEGATE, tmp_path)
    types = [line.split('"')[3] for line in channel_story(told)]
    assert types == [
        "message_received",
        "turn_started",
        "branch_requested",
        "reply_sent",
        "turn_completed",
        "branch_concluded",
        "turn_started",
        "reply_sent",
        "turn_completed",
    ]
