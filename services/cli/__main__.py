"""Entry point of `penstock`: parse, then run one command."""

import os
import sys
from collections.abc import Sequence

from services.cli.parser import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see `exits`."""
    target, given = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        from services.cli.dispatch import dispatch  # noqa: PLC0415 - help does not wait for it

        code = dispatch(target, given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough, as `head` does. Nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
