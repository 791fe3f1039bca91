"""The catalogue, the parser and the commands say the same."""

import subprocess
import sys
from importlib import import_module
from typing import get_args, get_type_hints

import msgspec
import pytest

from schemas.memory import MemoryKind
from services.cli.catalogue import COMMANDS, COMMON, GROUPS, KINDS
from services.cli.dispatch import COMMANDS as PACKAGE
from services.cli.parser import parse
from services.runtime.registry import SERVICES

HEAVY = ("asyncio", "msgspec", "nats", "prompt_toolkit", "psycopg", "rich", "structlog")


def function_of(command):
    module, _, name = command.target.partition(":")
    return getattr(import_module(f"{PACKAGE}.{module}"), name)


def example_of(command):
    words = command.name.split()
    for argument in command.arguments:
        if not argument.is_flag:
            words.append(argument.choices[0] if argument.choices else "something")
    return words


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_what_the_parser_finds_is_what_the_command_takes(command):
    target, given = parse(example_of(command))
    options = get_type_hints(function_of(command))["options"]
    assert target == command.target
    assert set(given) == {field.name for field in msgspec.structs.fields(options)}
    msgspec.convert(given, options, strict=False)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_default_is_the_same_for_the_parser_and_for_the_command(command):
    _, given = parse(example_of(command))
    options = msgspec.convert(given, get_type_hints(function_of(command))["options"], strict=False)
    fields = {field.name: field for field in msgspec.structs.fields(options)}
    for name, value in given.items():
        asked = {"tag", "names", "id", "what"}
        if fields[name].default is not msgspec.NODEFAULT and name not in asked:
            assert fields[name].default == value, name


def test_every_command_takes_json_and_a_data_directory():
    flags = {name for argument in COMMON for name in argument.names}
    assert {"--json", "--data-dir", "--config", "--verbose"} <= flags


def test_what_the_catalogue_repeats_is_what_the_code_has():
    run = next(command for command in COMMANDS if command.name == "run")
    assert run.arguments[0].choices == SERVICES
    assert set(KINDS) == set(get_args(MemoryKind))
    assert {command.name.split()[0] for command in COMMANDS if " " in command.name} == set(GROUPS)


@pytest.mark.parametrize(
    "line",
    [[], ["bogus"], ["chat", "--timeout", "soon"], ["run"], ["run", "bogus"], ["memory"]],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_two(line, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(line)
    assert ended.value.code == 2
    assert "usage: penstock" in capsys.readouterr().err


def test_a_type_may_be_named_several_times():
    _, given = parse(["events", "--type", "reply_sent", "--type", "turn_failed"])
    assert given["type"] == ["reply_sent", "turn_failed"]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from services.cli.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines()[-1] == "[]"
