"""A comparison as people see it: two columns, one row for each exchange."""

import sys
from typing import TYPE_CHECKING, Final

from services.cli import output
from services.runtime.comparing import Came, Comparison, Side

SHOWN: Final = 2_000  # characters of one text
SAID: Final = "reply"  # a tool whose call need not be shown: the reply itself is
TOOLS: Final = 12  # tools that are named of one exchange
ARGUMENTS: Final = 60  # characters of what each was called with
NARROW: Final = 100  # columns, where it is not a terminal that says how many
if TYPE_CHECKING:  # it is slow to import
    from rich.text import Text

STYLES: Final = {"asked": "bold", "reply": "green", "tool": "dim", "cost": "blue", "bad": "red"}
BAD: Final = frozenset({"failed", "error", "refused", "interrupted"})


def draw(found: Comparison) -> None:
    """Print the table, and what each side came to."""
    from rich.console import Console  # noqa: PLC0415 - it is slow to import
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    console = Console(highlight=False, width=None if sys.stdout.isatty() else NARROW)
    parted = found.parted
    shared = output.plural(parted.events, "event")
    print(f"They share {shared}, up to event {parted.seq} ({output.when(parted.at)}).")
    table = Table(show_lines=True, expand=True)
    for side in (found.a, found.b):
        table.add_column(Text(heading(side)), ratio=1, overflow="fold")
    for row in found.rows:
        table.add_row(*(_cell(came) for came in (row.a, row.b)))
    table.add_row(*(Text(summary(side), style="bold") for side in (found.a, found.b)))
    console.print(table)
    if found.left_out:
        left_out = output.plural(found.left_out, "exchange")
        print(f"{left_out} more; --limit shows them.")


def heading(side: Side) -> str:
    """Return what stands above a side."""
    parts = [output.visible(side.conversation)]
    if side.model:
        parts.append(f"model {output.visible(side.model)}")
    if side.prompt:
        parts.append("another prompt")
    return ", ".join(parts)


def summary(side: Side) -> str:
    """Return what a side came to, in one line."""
    total = side.total
    parts = [
        output.plural(total.exchanges, "exchange"),
        output.plural(total.model_calls, "model call"),
        output.plural(total.tool_calls, "tool call"),
        output.plural(total.tokens, "token"),
    ]
    if total.cost_usd is not None:
        parts.append(output.money(total.cost_usd))
    return ", ".join(parts)


def told(came: Came | None) -> list[tuple[str, str]]:
    """Return what came of something, line by line, each with the kind of line that it is."""
    if came is None:
        return [("nothing", "(nothing more)")]
    lines = [("asked", f"{one.author}: {_cut(one.text)}") for one in came.asked]
    tools = [tool for tool in came.tools if tool.name != SAID]
    for tool in tools[:TOOLS]:
        arguments = output.one_line(tool.arguments, ARGUMENTS)
        kind = "bad" if tool.status in BAD else "tool"
        lines.append((kind, f"* {tool.name} {arguments} ({tool.status})"))
    if len(tools) > TOOLS:
        lines.append(("tool", f"* {len(tools) - TOOLS:,} more tool calls"))
    lines += [("reply", f"> {_cut(text)}") for text in came.replies]
    if came.outcome != "replied":
        lines.append(("bad" if came.outcome in BAD else "tool", f"({came.outcome})"))
    lines.append(("cost", _cost(came)))
    return [(kind, output.visible(line)) for kind, line in lines]


def _cost(came: Came) -> str:
    parts = [", ".join(came.models) or "no model", output.plural(came.model_calls, "call")]
    parts.append(f"{came.input_tokens:,} -> {came.output_tokens:,} tokens")
    if came.cost_usd is not None:
        parts.append(output.money(came.cost_usd))
    if came.took_ms is not None:
        parts.append(output.duration(came.took_ms))
    return ", ".join(parts)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _cell(came: Came | None) -> "Text":
    from rich.text import Text  # noqa: PLC0415 - likewise

    cell = Text()
    for number, (kind, line) in enumerate(told(came)):
        cell.append("\n" if number else "").append(line, style=STYLES.get(kind, "dim"))
    return cell
