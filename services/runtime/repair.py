"""Tool-call arguments as models really write them: read leniently, refused with an explanation."""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

A = TypeVar("A", bound=msgspec.Struct)

SHOWN_CHARS: Final = 200  # of arguments that could not be read, quoted back to the model
REPAIRED_CHARS: Final = 64_000  # half a second; twice the longest answer that is asked for

_UNUSABLE: Final = re.compile("[\x00\ud800-\udfff]")
_QUOTES: Final = re.compile(r'(?<!\\)(?:\\\\)*"')  # those that no backslash escapes


class MalformedArguments(ValueError):
    """The arguments of a tool call cannot be understood; the message is for the model."""


def decode_arguments(arguments: type[A], raw: str) -> A:
    """Return `raw` as `arguments`, repaired where that is possible.

    Repaired are trailing commas, single or missing quotes, missing closers, code fences, Python
    literals, text around the object, numbers and booleans written as strings, and a whole object
    written as a string. NUL and lone surrogates, which no store of ours accepts, are replaced.
    A text that was cut off is not repaired: half a command or half a file is another one.

    Raises:
        MalformedArguments: says what is wrong and what is expected.
    """
    fields = loads(raw)
    try:
        return msgspec.convert(fields, arguments, strict=False)
    except msgspec.ValidationError as error:
        raise MalformedArguments(f"{_plain(error)}. Expected {_shape(arguments)}.") from error


def loads(raw: str) -> dict[str, Any]:
    """Return the object that `raw` stands for; an empty text is an empty object.

    Raises:
        MalformedArguments: there is no object in it.
    """
    raw = clean(raw)
    try:
        value = _read(raw)
        if isinstance(value, dict):
            return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    except RecursionError:
        pass  # nested a thousand deep: no arguments of any tool
    raise MalformedArguments(
        f"The arguments are not a JSON object: {raw[:SHOWN_CHARS]!r}. "
        'Write them as one, for example {"name": "value"}.'
    )


def clean(text: str) -> str:
    """Return `text` with NUL and lone surrogates replaced by U+FFFD."""
    return text if text.isascii() and "\x00" not in text else _UNUSABLE.sub("\ufffd", text)


def _read(raw: str) -> object:
    try:
        value = msgspec.json.decode(raw) if raw.strip() else {}
    except msgspec.DecodeError:
        value = _repair(raw)
    # An object that was written as a string, which some models do.
    return _repair(value) if isinstance(value, str) else value


def _repair(raw: str) -> object:
    if len(_QUOTES.findall(raw)) % 2:
        raise MalformedArguments(
            f"The arguments end in the middle of a text: ...{raw[-SHOWN_CHARS:]!r}. "
            "Write the call again, shorter or in several calls."
        )
    if len(raw) > REPAIRED_CHARS:
        return None
    from json_repair import repair_json  # noqa: PLC0415 - seldom needed, slow to import

    try:
        return repair_json(raw, return_objects=True, skip_json_loads=True)
    except ValueError:  # what it cannot follow
        return None


def _cleaned(value: object) -> object:
    """Clean every string: escaped NULs and surrogates only appear once decoded."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, Mapping):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    return value


def _plain(error: msgspec.ValidationError) -> str:
    return str(error).replace("`$.", "`").replace("Object missing", "The arguments miss")


def _shape(arguments: type[msgspec.Struct]) -> str:
    """Return the fields of `arguments` in one line, for example `{text: str, limit?: int}`."""
    fields = msgspec.structs.fields(arguments)
    return "{" + ", ".join(_field(field) for field in fields) + "}"


def _field(field: msgspec.structs.FieldInfo) -> str:
    kind = getattr(field.type, "__name__", None) if isinstance(field.type, type) else None
    name = str(field.type) if kind is None else kind
    return f"{field.encode_name}{'' if field.required else '?'}: {_readable(name)}"


def _readable(name: str) -> str:
    """Return a type's name without modules and constraints."""
    name = re.sub(r"typing\.Annotated\[(.+?), msgspec\.Meta\(.*?\)\]", r"\1", name)
    return re.sub(r"\b(typing|builtins)\.", "", name)
