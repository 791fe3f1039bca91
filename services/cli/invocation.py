"""How the person at this terminal calls us, for messages that say what to type next."""

import shutil
import sys
from pathlib import Path


def program() -> str:
    """Return `penstock` where the shell finds us under that name, else the shortest path."""
    ours = Path(sys.argv[0])
    found = shutil.which("penstock")
    if found is not None and ours.exists() and Path(found).samefile(ours):
        return "penstock"
    if ours.name != "penstock":
        return "penstock"
    try:
        return str(ours.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(ours.absolute())
