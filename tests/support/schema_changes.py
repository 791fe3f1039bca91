"""Which differences between two JSON Schemas of our events break those who read or wrote the old.

Renew the snapshot:  python -m tests.support.schema_changes > tests/unit/schemas/golden/schema.json
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

PROSE = {"title", "description"}


def breaking(old: Schema, new: Schema) -> list[str]:
    """Return every difference that an event or a reader of the old schema would notice.

    What may change: prose, class names, new events, and new last fields with a default.
    """
    before, after = _events(old), _events(new)
    found = []
    for tag, struct in before.items():
        if tag in after:
            found += _changes(tag, struct, after[tag])
        else:
            found.append(f"{tag}: removed")
    return found


def _events(schema: Schema) -> dict[str, Schema]:
    """Return the schema of each tag's data, and of the envelope, with references resolved."""
    definitions = schema["$defs"]
    events = {"envelope": _resolve(definitions["Envelope"], definitions)}
    for reference in schema["oneOf"]:
        struct = _resolve(reference, definitions)
        (tag,) = struct["properties"]["type"]["enum"]
        events[tag] = struct
    return events


def _resolve(node: Any, definitions: Schema) -> Any:
    """Return a schema without references and prose."""
    if isinstance(node, list):
        return [_resolve(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _resolve(target, definitions) | _resolve(rest, definitions)
    resolved = {key: value for key, value in node.items() if key not in PROSE}
    for key, value in resolved.items():
        if key == "properties":  # its keys are names of fields, whatever they are
            resolved[key] = {name: _resolve(field, definitions) for name, field in value.items()}
        elif key in {"items", "anyOf", "prefixItems"}:
            resolved[key] = _resolve(value, definitions)
    return resolved


def _changes(path: str, old: Any, new: Any) -> Iterator[str]:
    """Yield what breaks between two schemas of one field."""
    same_kind = isinstance(old, dict) and isinstance(new, dict) and {*old} == {*new}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            yield from _changes(path, before, after)
    elif same_kind and not {*old}.isdisjoint({"properties", "items", "anyOf"}):
        for key in old.keys() - {"properties", "required"}:
            yield from _changes(path, old[key], new[key])
        if "properties" in old:
            yield from _field_changes(path, old, new)
    elif old != new:
        yield f"{path}: {_short(old)} became {_short(new)}"


def _field_changes(path: str, old: Schema, new: Schema) -> Iterator[str]:
    """Yield what breaks between two schemas of one struct."""
    before, after = old["properties"], new["properties"]
    needed = {*old.get("required", ())}, {*new.get("required", ())}
    for name in before:
        if name not in after:
            yield f"{path}.{name}: removed"
        elif (name in needed[0]) != (name in needed[1]):
            yield f"{path}.{name}: {'now' if name in needed[1] else 'no longer'} required"
        else:
            yield from _changes(f"{path}.{name}", before[name], after[name])
    added = [name for name in after if name not in before]
    yield from (f"{path}.{name}: new, and required" for name in added if name in needed[1])
    if [*after][len(after) - len(added) :] != added:
        yield f"{path}: new fields must come last"


def _short(node: Any) -> str:
    return json.dumps(node, ensure_ascii=False)[:120]


def main() -> None:
    from schemas.catalogue import json_schema  # noqa: PLC0415 - the function above stands alone

    json.dump(json_schema(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
