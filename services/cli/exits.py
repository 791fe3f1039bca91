"""How commands end: exit codes, and the one error that is the command line's own."""

import sys
from typing import Final

from services.errors import InvalidConfiguration, LogFull, ServiceError, Transient

OK: Final = 0
FAILED: Final = 1  # it did not work, or the answer is no
USAGE: Final = 2  # wrong arguments or configuration
NOT_RUNNING: Final = 3  # nothing runs there, or it cannot be reached
INTERRUPTED: Final = 130  # Ctrl-C

MEANINGS: Final = {
    OK: "it worked, and the answer is yes where there was a question",
    FAILED: "it failed, or the answer is no: a check found something, a conversation did not "
    "settle in time",
    USAGE: "the arguments or the configuration are wrong; nothing was done",
    NOT_RUNNING: "nothing runs there, or it cannot be reached",
    INTERRUPTED: "interrupted with Ctrl-C",
}


class NotRunning(ServiceError):
    """Nothing runs there, or it cannot be reached."""


class Misused(ServiceError):
    """The arguments do not go together."""


def report(error: ServiceError | OSError) -> int:
    """Say on standard error what went wrong, and return the exit code for it."""
    sys.stderr.write(f"penstock: {_sentence(error)}\n")
    if isinstance(error, InvalidConfiguration | Misused):
        return USAGE
    if isinstance(error, NotRunning):
        return NOT_RUNNING
    return (
        NOT_RUNNING if isinstance(error, Transient) and not isinstance(error, LogFull) else FAILED
    )


def _sentence(error: ServiceError | OSError) -> str:
    if isinstance(error, InvalidConfiguration):
        return "\n  ".join(["the configuration is wrong:", *error.problems])
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
