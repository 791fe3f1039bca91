"""What a check says."""

from typing import Literal

import msgspec

Level = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check."""

    name: str
    level: Level
    text: str
    fix: str | None = None
    """What to do about it; None where there is nothing to do."""


def ok(name: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(name=name, level="ok", text=text)


def warn(name: str, text: str, fix: str) -> Finding:
    """Return that something will work less well than it could."""
    return Finding(name=name, level="warn", text=text, fix=fix)


def fail(name: str, text: str, fix: str) -> Finding:
    """Return that something will not work."""
    return Finding(name=name, level="fail", text=text, fix=fix)
