"""One program at a time per data directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.errors import Rejected


class DataDirectoryInUse(Rejected):
    """Another program runs on this data directory."""

    def __init__(self, data_dir: Path, pid: str) -> None:
        other = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{data_dir} is in use by {other}: stop it, or choose another with PENSTOCK_DATA_DIR"
        )


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold `data_dir`, made if need be; the system lets go of it when we die.

    Raises:
        DataDirectoryInUse: another program holds it.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DataDirectoryInUse(data_dir, file.read().strip()) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
