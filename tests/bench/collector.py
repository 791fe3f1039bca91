"""A collector in a process of its own: `python -m tests.bench.collector`.

Prints its address, and on SIGTERM how many spans it was told.
"""

import signal
import threading

from tests.support.otlp import collector


def main() -> None:
    """Listen until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with collector() as told:
        print(told.url, flush=True)
        stop.wait()
        print(told.told, flush=True)


if __name__ == "__main__":
    main()
