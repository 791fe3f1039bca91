"""The list of tools, and the status that a worker sets."""

import msgspec
import pytest

from services.errors import Rejected
from services.runtime.sandbox import Unavailable
from services.worker.tools import TOOLS, WorkerScope
from services.worker.tools.set_status import SET_STATUS, SetStatusArguments, shown_status

SCOPE = WorkerScope(Unavailable("no reason", "No fix."))


async def set_status(**arguments):
    return await SET_STATUS.run(SCOPE, "call-1", msgspec.convert(arguments, SetStatusArguments))


def test_the_tools_are_named_as_the_worker_knows_them():
    assert [tool.name for tool in TOOLS] == [
        *("shell", "file_read", "file_write", "file_edit", "file_list", "set_status"),
    ]


def test_only_what_may_run_twice_is_repeatable():
    assert {tool.name for tool in TOOLS if not tool.repeatable} == {"shell", "file_edit"}


def test_every_argument_is_explained_and_no_schema_needs_a_reference():
    for tool in TOOLS:
        parameters = tool.spec().parameters
        assert parameters["type"] == "object"
        assert "$ref" not in msgspec.json.encode(parameters).decode()
        for name, schema in parameters["properties"].items():
            assert schema["description"], (tool.name, name)
            assert "anyOf" not in schema, (tool.name, name)


async def test_progress_is_confirmed_without_a_sandbox():
    output = await set_status(status="reading the logs")
    assert (output.text, output.status) == ("status set", "ok")


@pytest.mark.parametrize("outcome", ["succeeded", "partial", "blocked", "failed"])
async def test_an_outcome_is_confirmed(outcome):
    output = await set_status(status="report", kind="outcome", outcome=outcome)
    assert output.text == f"outcome set: {outcome}"


async def test_an_outcome_says_how_it_ended():
    with pytest.raises(Rejected, match="needs an outcome"):
        await set_status(status="report", kind="outcome")


async def test_progress_has_no_outcome():
    with pytest.raises(Rejected, match="kind `outcome`"):
        await set_status(status="report", outcome="succeeded")


async def test_a_status_of_nothing_is_rejected():
    with pytest.raises(Rejected, match="says nothing"):
        await set_status(status=" \n")


@pytest.mark.parametrize("outcome", ["cancelled", "timed_out", "done"])
def test_what_others_state_about_a_worker_it_cannot_state_itself(outcome):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"status": "x", "kind": "outcome", "outcome": outcome}, SetStatusArguments)


def test_a_long_status_is_shown_on_one_line_up_to_a_word():
    arguments = SetStatusArguments(status="word\n" * 100)
    shown = shown_status(arguments)
    assert shown.endswith("word…")
    assert "\n" not in shown
    assert 250 <= len(shown) <= 256
