"""`penstock config`: what is configured, and what is wrong with it."""

import msgspec

from services.cli import output
from services.cli.exits import OK, USAGE
from services.cli.options import Options
from services.runtime import settings


def check(options: Options) -> int:
    """Print every problem; warnings alone are no failure."""
    path = options.config.expanduser() if options.config else None
    findings = settings.check(path)
    wrong = any(finding.level == "error" for finding in findings)
    if options.json:
        output.document({"ok": not wrong, "findings": findings})
        return USAGE if wrong else OK
    for finding in findings:
        print(f"{finding.level}: {finding.text}")
    if not wrong:
        source = path or settings.find() or "no file, defaults and variables"
        print(f"The configuration is good ({source}).")
    return USAGE if wrong else OK


def show(options: Options) -> int:
    """Print every setting as it is in force."""
    config = options.settings()
    shown = msgspec.to_builtins(config, enc_hook=repr_of)
    if options.json:
        output.document(shown)
        return OK
    for key, value in _leaves(shown, ""):
        print(f"{key} = {msgspec.json.encode(value).decode() if value is not None else 'none'}")
    return OK


def repr_of(value: object) -> str:
    """Return how a secret or a path is shown; a secret shows itself as `***`."""
    return str(value)


def _leaves(value: object, prefix: str) -> list[tuple[str, object]]:
    if not isinstance(value, dict) or not value:
        return [(prefix, value)]
    found: list[tuple[str, object]] = []
    for key, inner in value.items():
        found += _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    return found
