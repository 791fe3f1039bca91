"""Write `docs/cli.md` from the catalogue.

Run:  python -m services.cli.reference > docs/cli.md
"""

import sys
from typing import Final

from services.cli.catalogue import COMMANDS, COMMON, GROUPS, Argument, Command
from services.cli.exits import MEANINGS

HEADER: Final = """\
# Command line

Generated from `services/cli/catalogue.py` by `python -m services.cli.reference`; do not edit.

`penstock COMMAND --help` says the same, shorter.
What goes wrong is one sentence on standard error that says what to do; `--verbose` adds where it
came from.
Output is plain in a pipe.

A command finds its installation by the data directory: `penstock up` and `penstock infra` leave
word there of where their servers are.
Where nothing runs, `PENSTOCK_NATS_URL` and `PENSTOCK_DATABASE_URL` say where others are.
`penstock chat` uses the HTTP interface, of `PENSTOCK_URL` with `PENSTOCK_TOKEN` if they are set.
"""


def reference() -> str:
    """Return the whole document."""
    parts = [HEADER, _exit_codes(), _common(), _overview()]
    return "\n".join([*parts, *map(_command, COMMANDS)])


def _exit_codes() -> str:
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return f"## Exit codes\n\n| code | meaning |\n|---|---|\n{rows}"


def _common() -> str:
    return f"## Arguments of every command\n\n{_table(COMMON)}"


def _overview() -> str:
    rows = "".join(f"| {_link(command)} | {command.summary} |\n" for command in COMMANDS)
    return f"## Commands\n\n| command | what it does |\n|---|---|\n{rows}"


def _link(command: Command) -> str:
    return f"[`{command.name}`](#penstock-{command.name.replace(' ', '-')})"


def _command(command: Command) -> str:
    group, _, _ = command.name.rpartition(" ")
    about = f" ({GROUPS[group]})" if group else ""
    lines = [
        f"## penstock {command.name}",
        "",
        f"{command.summary[0].upper()}{command.summary[1:]}{about}.",
        "",
        f"```\n{_usage(command)}\n```",
        "",
    ]
    if command.text:
        lines += [command.text.replace(". ", ".\n"), ""]
    if command.arguments:
        lines += [_table(command.arguments)]
    if command.examples:
        lines += ["```sh", *command.examples, "```", ""]
    return "\n".join(lines)


def _usage(command: Command) -> str:
    parts = [_form(argument) for argument in command.arguments]
    return " ".join(["penstock", command.name, *parts])


def _form(argument: Argument) -> str:
    """Return how an argument is typed."""
    value = _value(argument)
    if not argument.is_flag:
        forms = {None: "{}", "?": "[{}]", "*": "[{}...]", "+": "{}..."}
        return forms[argument.repeat].format(value)
    flag = argument.names[0] if argument.switch else f"{argument.names[0]} {value}"
    return f"[{flag}]..." if argument.repeat else f"[{flag}]"


def _value(argument: Argument) -> str:
    if argument.metavar:
        return argument.metavar
    return "|".join(argument.choices or (argument.names[-1].lstrip("-").upper(),))


def _table(arguments: tuple[Argument, ...]) -> str:
    rows = []
    for argument in arguments:
        name = ", ".join(argument.names) if argument.is_flag else _value(argument)
        choices = f" One of {', '.join(f'`{each}`' for each in argument.choices or ())}."
        text = (
            f"{argument.help[0].upper()}{argument.help[1:]}.{choices if argument.choices else ''}"
        )
        rows.append(f"| `{name}` | {text} |\n".replace("|TURN", "\\|TURN"))
    return f"| argument | meaning |\n|---|---|\n{''.join(rows)}"


if __name__ == "__main__":
    sys.stdout.write(reference())
