"""`penstock down`: stop what runs in the data directory, in order."""

import os
import signal
from time import monotonic, sleep
from typing import Final

from services.cli import output
from services.cli.exits import FAILED, OK, NotRunning
from services.cli.options import Options
from services.runtime import instance, processes

PATIENCE_S: Final = 15.0  # a drain takes 10 s at most
POLL_S: Final = 0.05


def down(options: Options) -> int:
    """Ask for a drain and wait until the process has ended."""
    data_dir = options.settings().data_dir
    running = instance.find(data_dir)
    if running is None:
        raise NotRunning(f"Penstock is not running in {data_dir}")
    os.kill(running.pid, signal.SIGTERM)
    deadline = monotonic() + PATIENCE_S
    while (alive := processes.started(running.pid) == running.mark) and monotonic() < deadline:
        sleep(POLL_S)
    if options.json:
        output.document({"pid": running.pid, "stopped": not alive})
    elif alive:
        print(f"Process {running.pid} has not ended after {PATIENCE_S:g} s; it still drains.")
    else:
        print("Stopped.")
    return FAILED if alive else OK
