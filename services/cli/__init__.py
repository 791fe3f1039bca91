"""The command line: starts an installation, talks to it, and shows what its log tells."""

from time import perf_counter
from typing import Final

STARTED: Final = perf_counter()
"""When this process began, near enough for `up` to say how long it took."""
