"""Run benchmarks, print a table, write JSON."""

import argparse
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import msgspec
import uvloop

from services.runtime import logs
from tests.bench.figures import Figure, table

NAMES = (
    "log",
    "fold",
    "journal",
    "startup",
    "rebuild",
    "talk",
    "recall",
    "memory",
    "ingest",
    "replay",
    "transfer",
    "schedule",
    "tracing",
)


def main() -> int:
    """Measure what the command line names; everything when it names nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: bench-TIME.json")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    logs.configure(service="bench", level="warning", stream=sys.stderr)
    figures: list[Figure] = []
    for name in options.names or NAMES:
        run: Callable[[], Awaitable[list[Figure]]] = import_module(f"tests.bench.{name}").run
        found = uvloop.run(run())
        print(f"\n{name}\n{table(found)}", flush=True)
        figures += found
    now = datetime.now(UTC)
    path = options.json or Path(f"bench-{now:%Y%m%d-%H%M%S}.json")
    entries = {"at": now, "figures": [figure.entry() for figure in figures]}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(entries)) + b"\n")
    print(f"\n{path}")
    missed = [figure for figure in figures if figure.met is False]
    return 1 if missed and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
