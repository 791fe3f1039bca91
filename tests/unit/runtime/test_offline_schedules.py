"""What the offline rules understand of time."""

import pytest

from services.runtime.offline.intents import Recall, Remember, Say, Schedule
from services.runtime.offline.sentences import parse
from tests.unit.runtime.test_offline_model import TURN, ask, called, said, spec

SCHEDULE = spec("schedule", "action", "job", "prompt", "cron", "every", "zone")
OUTCOME = spec("set_outcome", "text", "outcome")


@pytest.mark.parametrize(
    ("sentence", "when", "prompt"),
    [
        ("check the inbox every 30 minutes", {"every": "30m"}, "check the inbox"),
        ("every 30 minutes check the inbox", {"every": "30m"}, "check the inbox"),
        ("Please every hour: run: uptime", {"every": "1h"}, "run: uptime"),
        ("every 1m run: date", {"every": "1m"}, "run: date"),
        ("every 30 min check the inbox", {"every": "30m"}, "check the inbox"),
        ("every 2hrs say hi", {"every": "2h"}, "say hi"),
        ("every two hours say hi", {"every": "2h"}, "say hi"),
        ("every day at 9 sum up the news", {"cron": "0 9 * * *"}, "sum up the news"),
        ("daily at 7pm say hello", {"cron": "0 19 * * *"}, "say hello"),
        ("every day at noon say eat", {"cron": "0 12 * * *"}, "say eat"),
        ("every monday at 14:30 post the plan", {"cron": "30 14 * * 1"}, "post the plan"),
        ("post the plan on weekdays at 8:15", {"cron": "15 8 * * 1-5"}, "post the plan"),
        (
            "weekdays at 9 in Berlin say good morning",
            {"cron": "0 9 * * 1-5", "zone": "Europe/Berlin"},
            "say good morning",
        ),
        (
            "every day at 9 in New York: look at the disk",
            {"cron": "0 9 * * *", "zone": "America/New_York"},
            "look at the disk",
        ),
        ("remind me every day at 9 to stretch", {"cron": "0 9 * * *"}, "say: stretch"),
        ("remind us to stretch every hour", {"every": "1h"}, "say: stretch"),
    ],
)
def test_a_sentence_with_a_time_is_a_job(sentence, when, prompt):
    intent = parse(sentence)
    assert isinstance(intent, Schedule)
    assert intent.action == "create"
    found = {name: intent.arguments.get(name) for name in ("every", "cron", "zone")}
    assert {name: value for name, value in found.items() if value} == when
    assert intent.arguments["prompt"] == prompt
    assert intent.arguments["job"]


@pytest.mark.parametrize(
    ("sentence", "intent"),
    [
        ("list jobs", Schedule("list")),
        ("what jobs do I have?", Schedule("list")),
        ("pause job inbox", Schedule("pause", {"job": "inbox"})),
        ("remove the job inbox", Schedule("delete", {"job": "inbox"})),
        ("run job inbox now", Schedule("run", {"job": "inbox"})),
        ("say: hello", Say("hello")),
    ],
)
def test_jobs_are_steered_by_their_names(sentence, intent):
    assert parse(sentence) == intent


@pytest.mark.parametrize(
    "sentence",
    [
        "remember that no meetings happen on Fridays",
        "remind me that our release day is Thursday",
        "we meet every day at 9",
        "what happens every day at 9?",
        "every day at 25 say x",
        "every day at 9 in Atlantis say x",
    ],
)
def test_what_only_tells_of_a_time_is_no_job(sentence):
    assert not isinstance(parse(sentence), Schedule)


def test_a_question_about_a_regular_thing_is_looked_up():
    assert isinstance(parse("what happens every day at 9?"), Recall)
    assert isinstance(parse("remember that we meet every day at 9"), Remember)


def test_what_came_of_it_is_told_after_it_was_tried():
    first = ask("turn", said("[Ana] every hour say hi"), tools=(*TURN, SCHEDULE))
    assert [name for name, _ in called(first)] == ["schedule"]


def test_a_run_of_a_job_says_it_by_its_outcome_or_says_nothing():
    tools = (spec("branch", "task"), spec("spawn_worker", "task", "interactive"), OUTCOME)
    told = ask("turn", said("[job hi] say: hello"), tools=tools)
    assert called(told) == [("set_outcome", {"text": "hello"})]
    silent = ask("turn", said("[job hi] say nothing"), tools=tools)
    assert called(silent) == [("set_outcome", {"text": ""})]


def test_a_run_of_a_job_delegates_once_and_tells_the_result():
    tools = (spec("branch", "task"), spec("spawn_worker", "task", "interactive"), OUTCOME)
    prompt = said("[job disk] run: df")
    first = ask("turn", prompt, tools=tools)
    assert [name for name, _ in called(first)] == ["spawn_worker"]
    result = said("[result of worker w1] (succeeded)\n12 GB")
    assert called(ask("turn", prompt, result, tools=tools)) == [("set_outcome", {"text": "12 GB"})]
