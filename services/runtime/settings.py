"""Configuration: `penstock.toml` and `PENSTOCK_*` variables to one typed, checked Struct.

Later wins:  defaults, well-known variables of providers, the file, `PENSTOCK_*`, overrides
Strict:      an unknown key or variable is an error that names the nearest known one
Secrets:     `env:NAME` and `file:PATH` are resolved, wherever they were written
Whole:       every problem is reported in one `InvalidConfiguration`
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from services.errors import InvalidConfiguration
from services.runtime.config import Config, conflicts
from services.runtime.secret import Secret
from services.runtime.setting import NAMED, PREFIX, SETTINGS, KeyPath, pattern
from services.runtime.telemetry import environment

CONFIG_VARIABLE: Final = "PENSTOCK_CONFIG"
FILE_NAME: Final = "penstock.toml"
NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")  # of an agent, a token of a subject; of a budget
WELL_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "ANTHROPIC_API_KEY": ("models", "anthropic_api_key"),
    "OPENAI_API_KEY": ("models", "openai_api_key"),
    "OPENROUTER_API_KEY": ("models", "openrouter_api_key"),
    "GEMINI_API_KEY": ("models", "gemini_api_key"),
    "OPENAI_API_BASE": ("models", "api_base"),
}

S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `penstock config check` says."""

    level: Literal["error", "warning"]
    text: str


@dataclass(frozen=True, slots=True)
class _Given:
    """A value before it is checked."""

    value: object
    origin: str
    """A file, a variable or the command line, for messages."""
    is_text: bool = False
    """Whether it came as text, so that `8420` may become a number."""
    directory: Path = field(default_factory=Path)
    """What a relative `file:` reference starts from."""


class _Sources:
    """Everything that was said, and what was wrong with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.given: dict[KeyPath, _Given] = {}
        self.problems: list[str] = []

    def give(self, path: KeyPath, given: _Given) -> None:
        """Take a value for a known key, over an earlier one; report an unknown key."""
        known = pattern(path)
        is_section = given.value == {} and any(key[: len(known)] == known for key in SETTINGS)
        if known in SETTINGS or is_section:
            self.given[path] = given
            return
        unknown = ".".join(path)
        name = path[1] if "*" in known else "*"
        nearest = _nearest(unknown, (it.key.replace("*", name) for it in SETTINGS.values()))
        self.problems.append(f"{unknown} ({given.origin}): unknown{nearest}")

    def named(self, section: str) -> list[str]:
        """Return the names of all agents or budgets that were given, in that order."""
        return list(
            dict.fromkeys(path[1] for path in self.given if path[0] == section and path[1:])
        )


def find(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the file that `PENSTOCK_CONFIG` names, else `./penstock.toml` if there is one."""
    environ = os.environ if environ is None else environ
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return Path(FILE_NAME) if Path(FILE_NAME).is_file() else None


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Config:
    """Read, check and return the configuration.

    Args:
        path: The file. None: what `find` finds, possibly nothing.
        environ: Where variables are looked up. None: the environment of the process.
        overrides: Values by dotted key, for example `{"port": 9000}`, as a command line gives;
            None counts as not given.

    Raises:
        InvalidConfiguration: lists every unknown, malformed or contradictory setting.
    """
    environ = os.environ if environ is None else environ
    sources = _Sources(environ)
    for name, key in WELL_KNOWN.items():
        if value := environ.get(name):
            sources.give(key, _Given(value, name, is_text=True))
    if path := path or find(environ):
        _read_file(path, sources)
    _read_environment(sources)
    for dotted, override in (overrides or {}).items():
        if override is not None:  # an option that was not given
            sources.give(tuple(dotted.split(".")), _Given(override, "command line"))
    config = _fill(Config(), (), sources)
    sources.problems.extend(conflicts(config))
    if sources.problems:
        raise InvalidConfiguration(sources.problems)
    return config


def foreign(prefix: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that begin with `prefix`, which is another standard's than ours."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if name.startswith(prefix)}


def check(path: Path | None = None, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Return every error in the configuration, or, when there is none, what is unwise in it."""
    environ = os.environ if environ is None else environ
    try:
        config = load(path, environ)
    except InvalidConfiguration as error:
        return [Finding("error", problem) for problem in error.problems]
    if problems := environment.problems(foreign(environment.PREFIX, environ)):
        return [Finding("error", problem) for problem in problems]
    return [Finding("warning", text) for text in _warnings(config, path or find(environ))]


def _warnings(config: Config, path: Path | None) -> Iterator[str]:
    sources = _Sources({})
    if path:
        _read_file(path, sources)
    for key, given in sources.given.items():
        setting = SETTINGS.get(pattern(key))
        if setting and setting.is_secret and not str(given.value).startswith(("env:", "file:")):
            yield f"{setting.key} ({path}): in clear; use env:NAME or file:PATH"
    if config.nats_url is None and config.log.sync != "always":
        yield f"log.sync is {config.log.sync}: a power cut may lose what was just acknowledged"
    if (config.nats_url is None) != (config.database_url is None):
        yield "only one of nats_url and database_url is set: the other server is an embedded one"


def _read_environment(sources: _Sources) -> None:
    known = {setting.variable: path for path, setting in SETTINGS.items() if setting.variable}
    for name, value in sorted(sources.environ.items()):
        # Compose files and charts pass an unset value on as an empty one.
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or not value:
            continue
        if name in known:
            sources.give(known[name], _Given(value, name, is_text=True))
        else:
            sources.problems.append(f"{name}: unknown variable{_nearest(name, known)}")


def _read_file(path: Path, sources: _Sources) -> None:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        sources.problems.append(f"{path}: {error}")
        return
    for key, value in _leaves(table, ()):
        sources.give(key, _Given(value, str(path), directory=path.parent))


def _leaves(table: Mapping[str, object], prefix: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _fill(default: S, prefix: KeyPath, sources: _Sources) -> S:
    """Return `default` with every given value that is valid in its place."""
    changes: dict[str, object] = {}
    for entry in msgspec.structs.fields(default):
        path = (*prefix, entry.name)
        value = getattr(default, entry.name)
        if isinstance(value, msgspec.Struct):
            changes[entry.name] = _fill(value, path, sources)
        elif not prefix and entry.name in NAMED:
            if names := sources.named(entry.name):
                changes[entry.name] = {name: _named(entry.name, name, sources) for name in names}
        elif given := sources.given.get(path):
            changes[entry.name] = _convert(path, given, value, sources)
    return msgspec.structs.replace(default, **changes)


def _named(section: str, name: str, sources: _Sources) -> msgspec.Struct:
    if not NAME.fullmatch(name):
        sources.problems.append(f"{section}.{name}: an id has 1 to 64 of a-z, 0-9, _ and -")
    return _fill(NAMED[section](), (section, name), sources)


def _convert(path: KeyPath, given: _Given, default: object, sources: _Sources) -> object:
    """Return the checked value, or `default` after reporting what is wrong."""
    setting = SETTINGS[pattern(path)]
    value = given.value
    try:
        if setting.is_secret:
            return Secret(_resolve(value, given.directory, sources.environ))
        if given.is_text and isinstance(value, str) and setting.is_list:
            value = [item.strip() for item in value.split(",")]
        return msgspec.convert(
            value, setting.annotation, strict=not given.is_text, dec_hook=_decode
        )
    except (ValueError, OSError) as error:
        expected = f"; expected {_either(setting.choices)}" if setting.choices else ""
        sources.problems.append(f"{'.'.join(path)} ({given.origin}): {error}{expected}")
        return default


def _resolve(value: object, directory: Path, environ: Mapping[str, str]) -> str:
    """Return the secret that `value` is or refers to; messages never repeat it."""
    if not isinstance(value, str):
        raise ValueError("Expected `str`")  # noqa: TRY004 - reported like every malformed value
    kind, _, rest = value.partition(":")
    if kind == "env":
        value = environ.get(rest, "")
    elif kind == "file":
        value = (directory / Path(rest).expanduser()).read_text(encoding="utf-8").strip()
    if not value:
        raise ValueError(f"{kind}:{rest} is empty or not set" if rest else "empty")
    return value


def _decode(wanted: type, value: object) -> object:
    if wanted is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise ValueError("Expected a path")


def _either(choices: Sequence[object]) -> str:
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}"


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"; did you mean {found[0]}?" if found else ""
