"""The parser, made from the catalogue. Imports nothing heavy: help has to come at once."""

import argparse
from collections.abc import Sequence
from typing import Final, NoReturn

from services.cli.catalogue import COMMANDS, COMMON, GROUPS, Argument, Command

PROGRAM: Final = "penstock"
SUMMARY: Final = "Agents for teams on an event log."
EPILOG: Final = (
    "Exit codes: 0 it worked, 1 it failed or the answer is no, 2 wrong arguments or "
    "configuration, 3 nothing runs there, 130 Ctrl-C."
)
TARGET: Final = "_target"  # where a parsed command line keeps what to run


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, object]]:
    """Return what to run and its arguments; exit with 2 and the usage when they are wrong."""
    found = vars(parser().parse_args(arguments))
    target = str(found.pop(TARGET))
    return target, found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(PROGRAM, description=SUMMARY, epilog=EPILOG, allow_abbrev=False)
    top.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="print the version and exit",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group and group not in groups:
            grouped = commands.add_parser(group, help=GROUPS[group], description=GROUPS[group])
            groups[group] = grouped.add_subparsers(metavar="COMMAND", required=True)
        _add(groups[group] if group else commands, name, command)
    return top


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command
) -> None:
    parser = commands.add_parser(
        name,
        help=command.summary,
        description=f"{command.summary[0].upper()}{command.summary[1:]}. {command.text}",
        allow_abbrev=False,
    )
    parser.set_defaults(**{TARGET: command.target})
    for argument in (*command.arguments, *COMMON):
        _add_argument(parser, argument)


def _add_argument(parser: argparse.ArgumentParser, argument: Argument) -> None:
    given: dict[str, object] = {"help": argument.help, "default": argument.default}
    if argument.switch:
        given["action"] = "store_true"
    else:
        given |= {"metavar": argument.metavar, "choices": argument.choices}
        given["type"] = argument.type or str
        if argument.is_flag and argument.repeat:
            given["action"] = "append"
        elif argument.repeat:
            given["nargs"] = argument.repeat
    parser.add_argument(*argument.names, **given)  # type: ignore[arg-type]  # argparse's own names


class _Version(argparse.Action):
    """Prints the version; looked up only then, because that costs a quarter of the help."""

    def __call__(self, *_: object) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415 - see above

        print(f"{PROGRAM} {version(PROGRAM)}")
        raise SystemExit(0)
