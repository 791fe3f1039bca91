"""Whatever dies at whatever point of a worker: it ends once, and no command runs twice."""

import re

from services.runtime.model import ModelAnswer, ModelRequest
from tests.support.crashes import (
    Scenario,
    at_every_point,
    at_pairs_of_points,
    channel_story,
    saying,
    stopped_at_every_point,
    tell,
)
from tests.support.scripted_model import by_prompt, calls, does, split

BUILD = Scenario(
    by_prompt(
        {
            "[Ana] build": [
                does(calls("spawn_worker", task="make it"), calls("reply", text="On it."))
            ],
            "[task] make it": [
                does(calls("shell", command="make")),
                does(
                    calls("file_write", path="notes.txt", content="made"),
                    calls("set_status", status="half way"),
                ),
                does(
                    calls("set_status", kind="outcome", outcome="succeeded", status="It is made.")
                ),
            ],
            "[result of worker": [does(calls("reply", text="Made."))],
        }
    ),
    saying("build"),
)


def following_up(request: ModelRequest) -> ModelAnswer:
    """Start an interactive worker, give it more to do after its first result, then stop it."""
    prompt, own = split(request)
    if request.kind == "worker":
        answered = sum(message.role == "assistant" for message in own)
        result = ("one", "two")[min(answered, 1)]
        return does(calls("set_status", kind="outcome", outcome="succeeded", status=result))
    known = re.findall(r"worker ([0-9a-f-]{36})", "".join(m.content for m in request.messages))
    worker = known[0] if known else ""
    script = {
        "[Ana] start": [calls("spawn_worker", task="first", interactive=True)],
        "(waiting)\none": [calls("route", worker_id=worker, message="more")],
        "(waiting)\ntwo": [calls("reply", text="Both are done.")],
        "[Ana] stop": [calls("cancel", run_id=worker)],
        "(cancelled)": [calls("reply", text="It is over.")],
    }
    wanted = next(calls for marker, calls in script.items() if marker in prompt.content)
    return does(*wanted, calls("skip"))


FOLLOW_UP = Scenario(following_up, saying("start", "stop"))


def outcome(told):
    """Return what is left in the workspace."""
    return (told.sandbox.files.root / "notes.txt").read_text()


async def test_a_crash_at_any_point_of_a_workers_task_changes_nothing(tmp_path):
    assert await at_every_point(BUILD, tmp_path, also=outcome) >= 50


async def test_two_crashes_at_any_points_change_nothing(tmp_path):
    await at_pairs_of_points(BUILD, tmp_path, pairs=40)


async def test_a_worker_that_is_stopped_at_any_point_ends_and_concludes_once(tmp_path):
    assert await stopped_at_every_point(BUILD, tmp_path, "worker") == {"cancelled", "succeeded"}


async def test_a_crash_at_any_point_of_an_interactive_worker_changes_nothing(tmp_path):
    assert await at_every_point(FOLLOW_UP, tmp_path) >= 60


async def test_two_crashes_at_any_points_of_an_interactive_worker_change_nothing(tmp_path):
    await at_pairs_of_points(FOLLOW_UP, tmp_path, pairs=40)


async def test_an_interactive_worker_gives_each_result_once_and_is_then_stopped(tmp_path):
    told = await tell(FOLLOW_UP, tmp_path)
    types = [line.split('"')[3] for line in channel_story(told)]
    assert [type_ for type_ in types if not type_.startswith("turn_")] == [
        "message_received",
        "worker_requested",
        "worker_reported",
        "input_routed",
        "worker_reported",
        "reply_sent",
        "message_received",
        "cancel_requested",
        "worker_concluded",
        "reply_sent",
    ]
