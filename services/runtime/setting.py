"""The list of all settings, read off the Structs in `config`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args, get_origin

import msgspec

from services.runtime.config import AgentSettings, BudgetSettings, Config
from services.runtime.secret import Secret

PREFIX: Final = "PENSTOCK_"

NAMED: Final[Mapping[str, type[msgspec.Struct]]] = {
    "agents": AgentSettings,
    "budgets": BudgetSettings,
}
"""Sections of which there may be many, each with a name of its own."""

KeyPath: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that can be configured."""

    path: KeyPath
    """Keys from the top of the file; `*` stands for the name of an agent or a budget."""
    annotation: Any
    """The field's type: an `Annotated` form whose `Meta` carries limits and description."""
    default: object
    section: type[msgspec.Struct]
    """The Struct that it is a field of."""

    @property
    def key(self) -> str:
        """Dotted name, as in messages and documents."""
        return ".".join(self.path)

    @property
    def variable(self) -> str | None:
        """Environment variable that sets it; None for what only a file can say."""
        return None if "*" in self.path else PREFIX + "_".join(self.path).upper()

    @property
    def type(self) -> Any:  # noqa: ANN401 - type expressions have no better type
        """What is annotated, for example `str | None`."""
        is_annotated = get_origin(self.annotation) is Annotated
        return get_args(self.annotation)[0] if is_annotated else self.annotation

    @property
    def is_secret(self) -> bool:
        """Whether its value is a `Secret`."""
        return Secret in (self.type, *get_args(self.type))

    @property
    def is_list(self) -> bool:
        """Whether its value is a tuple."""
        return get_origin(self.type) is tuple

    @property
    def choices(self) -> tuple[object, ...]:
        """The only values that it takes; empty where there are others."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()


def _walk(struct: msgspec.Struct, prefix: KeyPath) -> Iterator[Setting]:
    for entry in msgspec.structs.fields(struct):
        path = (*prefix, entry.name)
        default = getattr(struct, entry.name)
        if isinstance(default, msgspec.Struct):
            yield from _walk(default, path)
        elif path in {(section,) for section in NAMED}:
            yield from _walk(NAMED[entry.name](), (*path, "*"))
        else:
            yield Setting(path, entry.type, default, type(struct))


def pattern(path: KeyPath) -> KeyPath:
    """Return the key of `SETTINGS` that `path` would be an instance of."""
    return (path[0], "*", *path[2:]) if path[0] in NAMED and len(path) > 1 else path


SETTINGS: Final[Mapping[KeyPath, Setting]] = {s.path: s for s in _walk(Config(), ())}
"""Every setting, in the order of `Config`."""
