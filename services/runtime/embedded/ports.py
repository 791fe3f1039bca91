"""Loopback ports for servers of ours."""

import secrets
import socket
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
FIRST: Final = 20_000
COUNT: Final = 10_000  # below what systems give to outgoing connections, which come and go


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` of loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a dead server that linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose() -> int:
    """Return a port that is free now; somebody else may still be faster."""
    while not is_free(port := FIRST + secrets.randbelow(COUNT)):
        pass
    return port


def remembered(file: Path) -> int:
    """Return the port that `file` names while it is free, else another."""
    try:
        port = int(file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return choose()
    return port if 0 < port < 65_536 and is_free(port) else choose()
