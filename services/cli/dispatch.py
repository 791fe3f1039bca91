"""Run the command that a command line names, and tell what went wrong with it."""

import asyncio
import inspect
import traceback
from importlib import import_module
from typing import Any, get_type_hints

import msgspec

from services.cli.exits import Misused, report
from services.errors import ServiceError

COMMANDS = "services.cli.commands"


def dispatch(target: str, given: dict[str, object]) -> int:
    """Run a command and return its exit code.

    Args:
        target: `module:function` below `COMMANDS`; the function takes its own kind of `Options`.
        given: What the parser found, by the names of their fields.
    """
    try:
        module, _, name = target.partition(":")
        function = getattr(import_module(f"{COMMANDS}.{module}"), name)
        result = function(_options(function, given))
        return int(asyncio.run(result) if inspect.iscoroutine(result) else result)
    except BrokenPipeError:
        raise
    except (ServiceError, OSError) as error:
        if given["verbose"]:
            traceback.print_exc()
        return report(error)


def _options(function: Any, given: dict[str, object]) -> object:  # noqa: ANN401 - any command
    try:
        return msgspec.convert(given, get_type_hints(function)["options"], strict=False)
    except msgspec.ValidationError as error:
        raise Misused(str(error).replace("`$.", "`--")) from error
