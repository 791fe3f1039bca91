"""One installation for each data directory: the second is told about the first."""

from services.errors import Rejected
from services.runtime import instance
from services.runtime.config import Config


class AlreadyRunning(Rejected):
    """An installation runs in this data directory."""


def refuse_second(config: Config) -> None:
    """Make sure that nothing runs in the data directory; the servers' own lock settles a race.

    Raises:
        AlreadyRunning: says which process, and where it can be reached.
    """
    running = instance.find(config.data_dir)
    if running is None:
        return
    place = f" at http://{running.host}:{running.port}" if running.port else ""
    raise AlreadyRunning(
        f"Penstock runs in {config.data_dir} already{place}, as process {running.pid}: stop it "
        f"with `kill {running.pid}`, or choose another directory with --data-dir"
    )
