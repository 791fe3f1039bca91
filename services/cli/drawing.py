"""A story as people see it: a tree with colours on a terminal, in ASCII elsewhere."""

import sys
from typing import Final

from services.cli import output
from services.cli.story import Kind, Node, Total, total

STYLES: Final[dict[Kind, str]] = {
    "message": "bold",
    "fork": "bold",
    "turn": "cyan",
    "branch": "magenta",
    "worker": "yellow",
    "model": "blue",
    "tool": "dim",
    "reply": "green",
    "note": "dim italic",
}
BAD: Final = frozenset({"failed", "error", "timed_out", "blocked", "interrupted", "refused"})


def draw(roots: list[Node]) -> None:
    """Print the trees, and what they come to."""
    if sys.stdout.isatty():
        _in_colour(roots)
    else:
        for root in roots:
            _in_ascii(root)
            print()
    print(summary(total(roots)))


def label(node: Node) -> str:
    """Return a node's own line."""
    text = output.one_line(node.text, 160)
    match node.kind:
        case "message":
            return f"{output.when(node.at)}  {text}"
        case "turn":
            return _joined(f"turn {node.id}", node.state, _took(node), _below(node))
        case "branch" | "worker" | "synthesis" | "compaction":
            head = _joined(f"{node.kind} {node.id}", node.state, _took(node), _below(node))
            return f"{head}: {text}"
        case "model":
            tokens = f"{node.input_tokens:,} -> {node.output_tokens:,} tokens"
            cost = "" if node.cost_usd is None else output.money(node.cost_usd)
            known = "" if node.state else tokens
            return _joined(f"model {text}", node.state, known, _took(node), cost)
        case "tool":
            return _joined(f"tool {text}", node.state, _took(node))
        case _:
            return f"{node.kind}: {text}"


def summary(sums: Total) -> str:
    """Return the sums in one line."""
    parts = (
        output.plural(sums.turns, "turn"),
        output.plural(sums.model_calls, "model call"),
        output.plural(sums.tokens, "token"),
        output.money(sums.cost_usd),
    )
    return ", ".join(parts)


def _took(node: Node) -> str:
    return "" if node.took_ms is None else output.duration(node.took_ms)


def _below(node: Node) -> str:
    """Return what the run's own model calls came to."""
    calls = [child for child in node.children if child.kind == "model"]
    costs = [call.cost_usd for call in calls if call.cost_usd is not None]
    if not calls:
        return ""
    return _joined(
        output.plural(len(calls), "model call"), output.money(sum(costs)) if costs else ""
    )


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _in_ascii(root: Node) -> None:
    print(label(root))
    rest = [("", child, child is root.children[-1]) for child in reversed(root.children)]
    while rest:
        indent, node, is_last = rest.pop()
        print(f"{indent}{'`-- ' if is_last else '|-- '}{label(node)}")
        deeper = indent + ("    " if is_last else "|   ")
        rest += [(deeper, child, child is node.children[-1]) for child in reversed(node.children)]


def _in_colour(roots: list[Node]) -> None:
    from rich.console import Console  # noqa: PLC0415 - for terminals only
    from rich.text import Text  # noqa: PLC0415 - likewise
    from rich.tree import Tree  # noqa: PLC0415 - likewise

    def text(node: Node) -> Text:
        is_bad = node.state.partition(" ")[0].rstrip(":") in BAD
        return Text(label(node), style="red" if is_bad else STYLES.get(node.kind, ""))

    console = Console(highlight=False)
    for root in roots:
        tree = Tree(text(root), guide_style="dim")
        rest = [(tree, child) for child in reversed(root.children)]
        while rest:
            parent, node = rest.pop()
            drawn = parent.add(text(node))
            rest += [(drawn, child) for child in reversed(node.children)]
        console.print(tree)
        console.print()
