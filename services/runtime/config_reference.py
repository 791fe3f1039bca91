"""Write `docs/configuration.md` from the Structs in `config`.

Run:  python -m services.runtime.config_reference > docs/configuration.md
"""

import inspect
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec

from services.runtime.secret import Secret
from services.runtime.setting import SETTINGS, Setting
from services.runtime.settings import WELL_KNOWN

HEADER: Final = """\
# Configuration

Generated from `services/runtime/config.py` by `python -m services.runtime.config_reference`;
do not edit.

Penstock runs without any configuration.
What you set comes from `penstock.toml` in the current directory (or the file that
`PENSTOCK_CONFIG` names) and from the environment.
A variable wins over the file, an empty variable counts as unset, and a list in a variable is
separated by commas.
An unknown key or variable is an error that names the nearest known one; `penstock config check`
reports all errors together.

A secret may be written as `env:NAME` or `file:PATH` (relative to the file it is written in), so
that the file itself holds none.

```toml
model = "anthropic/claude-sonnet-4-5"

[models]
anthropic_api_key = "env:MY_KEY"

[worker]
timeout_s = 3600

[agents.main]
name = "Atlas"
instructions = "You look after the release of our product."
```
"""

NOTES: Final[dict[tuple[str, ...], str]] = {
    ("agents",): "The agents that a file lists are the agents there are; without any, there is "
    "`main`.",
    ("budgets",): "Without any, nothing is reserved, and nothing is limited: "
    "[budgets](budgets.md).",
}


def reference() -> str:
    """Return the whole document."""
    sections = itertools.groupby(SETTINGS.values(), key=lambda setting: setting.path[:-1])
    return "\n".join([HEADER, *(_section(path, list(rows)) for path, rows in sections), _known()])


def _section(path: tuple[str, ...], rows: list[Setting]) -> str:
    title = f"[{'.'.join(path)}]".replace("*", "ID") if path else "Top level"
    lines = [f"## {title}", "", inspect.getdoc(rows[0].section) or ""]
    if note := NOTES.get(path[:1]):
        lines += ["", note]
    lines += ["", "| key | default | allowed | meaning |", "|---|---|---|---|"]
    for setting in rows:
        cells = (
            f"`{setting.path[-1]}`",
            _default(setting.default),
            ", ".join(_allowed(setting.annotation)),
            _meaning(setting),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _default(value: object) -> str:
    match value:
        case None | () | "":
            return "none"
        case Path():
            return f"`{value}`"
        case _:
            return f"`{msgspec.json.encode(value).decode()}`"


def _allowed(annotation: Any) -> Iterator[str]:  # noqa: ANN401 - type expressions have no better type
    """Yield what a value must be, outermost constraint first."""
    if get_origin(annotation) is Annotated:
        inner, *metas = get_args(annotation)
        yield from _allowed(inner)
        for meta in metas:
            yield from _limits(meta)
    elif get_origin(annotation) is Literal:
        yield " or ".join(f"`{choice}`" for choice in get_args(annotation))
    elif get_origin(annotation) is tuple:
        yield "list of " + ", ".join(_allowed(get_args(annotation)[0]))
    elif members := get_args(annotation):
        yield from itertools.chain.from_iterable(
            _allowed(m) for m in members if m is not type(None)
        )
    else:
        yield NAMES[annotation]


NAMES: Final = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "`true` or `false`",
    Path: "path",
    Secret: "secret",
}


def _limits(meta: msgspec.Meta) -> Iterator[str]:
    if meta.ge is not None:
        yield f"at least {meta.ge:,}"
    if meta.gt is not None:
        yield f"above {meta.gt:,}"
    if meta.le is not None:
        yield f"at most {meta.le:,}"
    if meta.max_length is not None:
        yield f"at most {meta.max_length} entries"
    if meta.pattern is not None:
        yield f"`{meta.pattern}`"


def _meaning(setting: Setting) -> str:
    text = " ".join(_descriptions(get_args(setting.annotation)))
    return f"{text} `{setting.variable}`" if setting.variable else text


def _descriptions(metas: Iterable[object]) -> Iterator[str]:
    for meta in metas:
        if isinstance(meta, msgspec.Meta) and meta.description:
            yield meta.description


def _known() -> str:
    lines = ["## Variables of others", ""]
    lines += [f"- `{name}` sets `{'.'.join(path)}`" for name, path in WELL_KNOWN.items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(reference())
