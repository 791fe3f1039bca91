"""`penstock schema`: JSON Schema of the events."""

import difflib

from schemas.catalogue import EVENTS, json_schema
from services.cli import output
from services.cli.exits import OK
from services.cli.options import Options
from services.errors import Rejected


class Schema(Options):
    """Arguments of `schema`."""

    tag: str | None = None


def schema(options: Schema) -> int:
    """Print the schema of one event's data, or of everything."""
    whole = json_schema()
    if options.tag is None:
        output.document(whole)
        return OK
    if options.tag not in EVENTS:
        near = difflib.get_close_matches(options.tag, EVENTS, n=1, cutoff=0.0)
        raise Rejected(f"no event {options.tag!r}; did you mean {near[0]}?")
    name = EVENTS[options.tag].__name__
    definitions = whole["$defs"]
    needed = _needed(name, definitions)
    output.document(
        {
            "$schema": whole["$schema"],
            "$ref": f"#/$defs/{name}",
            "$defs": {key: definitions[key] for key in definitions if key in needed},
        }
    )
    return OK


def _needed(name: str, definitions: dict[str, object]) -> set[str]:
    """Return the definitions that one refers to, itself included, however far away."""
    found: set[str] = set()
    open_ = [name]
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            text = str(definitions[name])
            open_ += [other for other in definitions if f"#/$defs/{other}'" in text]
    return found
