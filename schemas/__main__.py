"""Write the event catalogue from the schemas: `python -m schemas > docs/events.md`."""

import ast
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec

from schemas import base
from schemas.base import Event
from schemas.catalogue import MODULES, version_of
from schemas.envelope import MAX_EVENT_BYTES, Envelope

HEADER: Final = f"""\
# Events

Generated from `schemas/` by `python -m schemas`; do not edit.

Every event travels in an envelope, is at most {MAX_EVENT_BYTES:,} bytes, and never changes.
Tags, subjects and the meaning of a field are for ever; new fields come last and have a default.
A field that holds its default is left out on the wire.
"""


def catalogue() -> str:
    """Return the whole document."""
    lines = [HEADER, "## The envelope", "", *_struct(Envelope)]
    for module, union in MODULES.items():
        lines += _module(module, get_args(union))
    lines += ["## Shared types", "", *_aliases(base), *_structs(base)]
    return "\n".join(lines).rstrip() + "\n"


def _module(module: ModuleType, events: tuple[type[Event], ...]) -> Iterator[str]:
    title, _, facts = (inspect.getdoc(module) or "").partition("\n\n")
    name = module.__name__.rpartition(".")[2]
    yield from (f"## {name}", "", title, "", "```text", facts, "```", "")
    for event in events:
        tag = str(event.__struct_config__.tag)
        yield from (f"### `{tag}` (version {version_of(tag)})", "", *_struct(event))
    aliases = list(_aliases(module))
    if aliases or list(_structs(module)):
        yield from (f"### Types of {name}", "", *aliases, *_structs(module))


def _structs(module: ModuleType) -> Iterator[str]:
    """Describe the structs of a module that are parts of events."""
    for struct in vars(module).values():
        mine = inspect.isclass(struct) and struct.__module__ == module.__name__
        if mine and issubclass(struct, msgspec.Struct) and not issubclass(struct, Event):
            yield from (f"#### {struct.__name__}", "", *_struct(struct))


def _struct(struct: type[msgspec.Struct]) -> Iterator[str]:
    yield inspect.getdoc(struct) or ""
    yield from ("", "| field | type | default | meaning |", "|---|---|---|---|")
    told = _told(struct)
    for field in msgspec.structs.fields(struct):
        annotation, meaning = told[field.encode_name]
        cells = (f"`{field.encode_name}`", f"`{annotation}`", _default(field))
        meaning = " ".join(filter(None, (meaning, _unit(field.type))))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, meaning)) + " |"
    yield ""


def _told(struct: type[msgspec.Struct]) -> dict[str, tuple[str, str]]:
    """Return each field's annotation and the string under it, as they are in the source."""
    (definition,) = ast.parse(inspect.getsource(struct)).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    told: dict[str, tuple[str, str]] = {}
    name = ""
    for statement in body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                told[name] = (_plain(annotation), "")
            case ast.Expr(value=ast.Constant(value=str(text))) if name:
                told[name] = (told[name][0], inspect.cleandoc(text).replace("\n", " "))
    return told


def _plain(annotation: ast.expr) -> str:
    """Return an annotation without the limits that the meaning tells of."""
    match annotation:
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[plain, *_])):
            return ast.unparse(plain)
        case _:
            return ast.unparse(annotation)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    return f"`{msgspec.json.encode(field.default).decode()}`"


def _unit(annotation: Any) -> str:  # noqa: ANN401 - type expressions have no better type
    """Return the descriptions of a type: units and limits."""
    if get_origin(annotation) is Annotated:
        _, *metas = get_args(annotation)
        return " ".join(str(meta.description) for meta in metas if meta.description)
    units = map(_unit, get_args(annotation)) if get_args(annotation) else ()
    return " ".join(dict.fromkeys(filter(None, units)))


def _aliases(module: ModuleType) -> Iterator[str]:
    """Describe the named types of a module: units, closed sets, identifiers."""
    names: list[str] = []
    for statement in ast.parse(inspect.getsource(module)).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ) if value is not None and not name.endswith(("Event", "_EVENTS")):
                names.append(f"- `{name}`: `{ast.unparse(value)}`")
    yield from (*names, "") if names else ()


if __name__ == "__main__":
    sys.stdout.write(catalogue())
