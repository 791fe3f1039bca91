"""Files that only we may read."""

import os
import secrets
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace `path` in one step, readable by its owner alone and on disk before it is seen."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def password(path: Path) -> str:
    """Return the password kept in `path`, made at the first call."""
    if not path.exists():
        write(path, secrets.token_hex(24))
    return path.read_text(encoding="ascii").strip()
