"""`run.json` in the data directory: where the installation that runs here can be reached.

Written by `penstock up` and `penstock infra`, read by every other command on this machine.
It holds addresses with passwords and a token, so only its owner may read it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from services.errors import Rejected
from services.runtime import private, processes

FILE_NAME: Final = "run.json"


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One running installation."""

    pid: int
    mark: str
    """When the process started, in the system's own words: ids of processes are used again."""
    started_at: int
    """UTC microseconds since 1970."""
    nats_url: str
    database_url: str
    host: str | None = None
    """Address of the HTTP interface; None when only the servers run."""
    port: int | None = None
    token: str | None = None
    """Bearer token that the HTTP interface accepts from local commands."""

    def __repr__(self) -> str:
        return f"Instance(pid={self.pid}, host={self.host}, port={self.port})"


def here(
    *,
    started_at: int,
    nats_url: str,
    database_url: str,
    address: tuple[str, int] | None = None,
    token: str | None = None,
) -> Instance:
    """Return the instance that this process is.

    Args:
        started_at: UTC microseconds since 1970.
        nats_url: With credentials.
        database_url: With credentials.
        address: Host and port of the HTTP interface, if there is one.
        token: What the HTTP interface accepts from local commands.
    """
    host, port = address or (None, None)
    return Instance(
        pid=os.getpid(),
        mark=processes.started(os.getpid()) or "",
        started_at=started_at,
        nats_url=nats_url,
        database_url=database_url,
        host=host,
        port=port,
        token=token,
    )


@contextmanager
def announced(data_dir: Path, instance: Instance) -> Iterator[None]:
    """Let other commands find `instance` until the block ends or the process dies."""
    path = data_dir / FILE_NAME
    private.write(path, msgspec.json.encode(instance).decode())
    try:
        yield
    finally:
        if _read(path) == instance:
            path.unlink(missing_ok=True)


def find(data_dir: Path) -> Instance | None:
    """Return the installation that runs in `data_dir`; None when there is none, or it has died.

    Raises:
        Rejected: another user's installation runs there.
    """
    instance = _read(data_dir / FILE_NAME)
    if instance is None or processes.started(instance.pid) != instance.mark:
        return None
    return instance


def _read(path: Path) -> Instance | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Instance)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    except PermissionError:
        raise Rejected(f"{path} belongs to another user") from None
