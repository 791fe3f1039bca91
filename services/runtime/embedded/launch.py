"""Become a server: run as `python -I -S launch.py PARENT SIGNAL ACCOUNT PROGRAM ARGUMENT...`.

Started as a script of its own and not as code between fork and exec, which may deadlock in a
process with threads. Imports the standard library only.

PARENT   process id; when it is gone already, we do not start
SIGNAL   number that the kernel sends us when the parent's thread that started us ends (Linux)
ACCOUNT  `same`; `UID:GID` to change to; `namespace:UID:GID` to stay who we are and be called
         that in a user namespace of our own, for a program that refuses to run as root
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


def become(account: str) -> None:
    """Change to `account`."""
    kind, *ids = account.split(":")
    if kind == "namespace":
        _enter_namespace(*ids)
    elif kind != "same":
        uid, gid = int(kind), int(ids[0])
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def follow(parent: int, signal: int) -> None:
    """Ask for `signal` at the parent's end, and end now when that has been.

    Comes after `become`, because a change of account takes the request back.
    """
    if sys.platform == "linux":
        _call("prctl", PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        sys.exit(f"process {parent} is gone")


def _enter_namespace(uid: str, gid: str) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1", encoding="ascii")


def _call(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


if __name__ == "__main__":
    _, parent, signal, account, *command = sys.argv
    become(account)
    follow(int(parent), int(signal))
    os.execv(command[0], command)  # noqa: S606 - to become the server is what this is for
