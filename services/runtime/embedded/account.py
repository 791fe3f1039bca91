"""Who runs Postgres, which refuses to be run by root.

Not root:      we do
Root:          the owner of the data, when that is not root; else root under another name, in a
               user namespace, which changes nothing on this machine; else, where namespaces are
               forbidden, as in most containers, an account that exists: the data is given to it
               and directories above it become passable
"""

import asyncio
import os
import pwd
import stat
import sys
from pathlib import Path
from typing import Final

import structlog

from services.runtime.embedded.server import LAUNCH

ACCOUNTS: Final = ("postgres", "nobody")

log = structlog.get_logger()


async def choose(data: Path, program: Path) -> str:
    """Return the account, as `launch` understands it, after making `data` its own.

    Args:
        data: The data directory, which exists.
        program: An executable of Postgres.
    """
    if os.geteuid() != 0:
        return "same"
    owner = _owner(data)
    if owner.startswith("0:"):
        owner = _stand_in()
        if await _works(f"namespace:{owner}", program):
            return f"namespace:{owner}"
        _give(data, owner)
    _let_pass(data, program)
    return owner


def _owner(path: Path) -> str:
    status = path.stat()
    return f"{status.st_uid}:{status.st_gid}"


def _stand_in() -> str:
    """Return an account that is not root's and has a name, because `initdb` asks for it."""
    accounts = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    entry = next(accounts[name] for name in (*ACCOUNTS, *accounts) if name in accounts)
    return f"{entry.pw_uid}:{entry.pw_gid}"


async def _works(account: str, program: Path) -> bool:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), "0", account),
        *(str(program), "--version"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    return await process.wait() == 0


def _give(data: Path, account: str) -> None:
    uid, gid = map(int, account.split(":"))
    for path in (data, *data.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)


def _let_pass(data: Path, program: Path) -> None:
    for directory in {*data.parents, *program.parents}:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            log.warning("directory.opened", path=str(directory), reason="postgres passes through")
            directory.chmod(mode | stat.S_IXOTH)
    if not program.stat().st_mode & stat.S_IROTH:
        for path in program.parents[1].rglob("*"):
            mode = path.stat().st_mode
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
