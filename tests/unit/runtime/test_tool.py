"""A tool's arguments are its schema: deterministic, with every reference inlined."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from services.branch.persistence import TOOLS as PERSISTENCE_TOOLS
from services.branch.tools import TOOLS as BRANCH_TOOLS
from services.channel.tools import TOOLS as CHANNEL_TOOLS
from services.runtime.tool import Tool, ToolOutput, parameters
from services.worker.service import WORKER_TOOLS

TOOLS = {
    f"{kind} {tool.name}": tool
    for kind, tools in (
        ("channel", CHANNEL_TOOLS),
        ("branch", BRANCH_TOOLS),
        ("worker", WORKER_TOOLS),
        ("persistence", PERSISTENCE_TOOLS),
    )
    for tool in tools
}


class Variable(Struct, frozen=True):
    """One variable."""

    key: str
    value: str = ""


class Arguments(Struct, frozen=True):
    """What the tool takes."""

    title: Annotated[str, Meta(min_length=1, description="What it is called.")]
    mode: Literal["fast", "slow"] = "fast"
    variables: tuple[Variable, ...] = ()


async def run(scope, key, arguments):
    return ToolOutput("done")


def test_parameters_are_inlined_and_keep_descriptions_and_limits():
    variable = {
        "type": "object",
        "description": "One variable.",
        "properties": {"key": {"type": "string"}, "value": {"type": "string", "default": ""}},
        "required": ["key"],
    }
    found = parameters(Arguments)
    assert found["type"] == "object"
    assert found["required"] == ["title"]
    assert found["properties"]["mode"] == {"enum": ["fast", "slow"], "default": "fast"}
    assert found["properties"]["variables"] == {"type": "array", "items": variable, "default": []}
    assert "description" not in found


def test_an_argument_may_be_called_title():
    title = {"type": "string", "minLength": 1, "description": "What it is called."}
    assert parameters(Arguments)["properties"]["title"] == title


def test_a_tool_is_shown_with_name_description_and_parameters():
    spec = Tool("make", "Make it.", Arguments, run).spec()
    assert (spec.name, spec.description) == ("make", "Make it.")
    assert spec.parameters == parameters(Arguments)


def test_a_tool_runs_once_unless_it_says_otherwise():
    assert not Tool("make", "Make it.", Arguments, run).repeatable


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_has_the_same_schema_at_every_start(name):
    tool = TOOLS[name]
    text = msgspec.json.encode(tool.spec().parameters)
    assert text == msgspec.json.encode(tool.spec().parameters)
    assert b"$ref" not in text
    assert tool.spec().parameters["type"] == "object"


@pytest.mark.parametrize("name", TOOLS)
def test_every_argument_is_described(name):
    for argument, schema in TOOLS[name].spec().parameters["properties"].items():
        described = schema.get("description") or any(
            "description" in option for option in schema.get("anyOf", [])
        )
        assert described, argument


def test_the_order_of_tools_is_for_ever():
    """Providers cache prompts by their beginning, which the tools are part of: append only."""
    assert [*TOOLS] == [
        *(
            f"channel {name}"
            for name in (
                "reply",
                "branch",
                "spawn_worker",
                "route",
                "cancel",
                "skip",
                "react",
                "send_file",
                "checkpoint_list",
                "checkpoint_open",
            )
        ),
        *(
            f"branch {name}"
            for name in (
                "memory_save",
                "memory_recall",
                "memory_delete",
                "channel_recall",
                "memory_about",
                "memory_correct",
                "spawn_worker",
                "checkpoint_list",
                "checkpoint_open",
                "checkpoint_expand",
                "document_search",
                "task_create",
                "task_list",
                "task_update",
                "task_comment",
                "goal_list",
            )
        ),
        *(
            f"worker {name}"
            for name in (
                "shell",
                "file_read",
                "file_write",
                "file_edit",
                "file_list",
                "set_status",
            )
        ),
        *(f"persistence {name}" for name in ("memory_recall", "memory_save", "memory_receipt")),
    ]


def test_only_what_may_have_happened_already_is_not_repeated():
    once = [name for name, tool in TOOLS.items() if not tool.repeatable]
    assert once == ["worker shell", "worker file_edit"]
