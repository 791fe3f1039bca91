"""What a command sees: the arguments that tell bubblewrap how to build its small world.

The system read-only, the workspace, an /etc of our own making, and nothing else of the machine.

Source: docs/adr on the sandbox.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.runtime.sandbox.limits import Limits, script

WORKSPACE: Final = "/workspace"
_USER_ID: Final = 1000  # who a command believes to be, when we are not root
_SYSTEM: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM_ETC: Final = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": WORKSPACE,
    "TMPDIR": "/tmp",  # noqa: S108 - it is the sandbox's own, empty at every start
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "USER": "agent",
    "LOGNAME": "agent",
    "SHELL": "/bin/sh",
    "CI": "true",
    "DEBIAN_FRONTEND": "noninteractive",
}


@dataclass(frozen=True, slots=True)
class World:
    """What is the same for all commands of one agent."""

    workspace: Path
    limits: Limits
    network: bool = False
    read_only_paths: Sequence[str] = ()
    user_id: int | None = None
    """Who runs the commands when we are root; None to run them as ourselves."""


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to run."""

    argv: Sequence[str]
    cwd: str = WORKSPACE
    env: Mapping[str, str] = field(default_factory=dict)


def arguments(world: World, command: Command) -> list[str]:
    """Return everything that follows `bwrap` and its file descriptors."""
    return [
        *_walls(world),
        *_mounts(world),
        *_environment(command.env),
        *("--chdir", "/", "--"),
        *_other_user(world),
        *("/bin/sh", "-c", script(world.limits), "sandbox", command.cwd, *command.argv),
    ]


def accounts(world: World) -> dict[str, str]:
    """Return the files of /etc that are ours, by path: no account or host of this machine."""
    user = _USER_ID if world.user_id is None else world.user_id
    nowhere = "/nonexistent:/usr/sbin/nologin"
    people = (
        f"root:x:0:0:root:{nowhere}",
        f"agent:x:{user}:{user}:agent:{WORKSPACE}:/bin/sh",
        f"nobody:x:65534:65534:nobody:{nowhere}",
    )
    made = {
        "/etc/passwd": "\n".join((*people, "")),
        "/etc/group": f"root:x:0:\nagent:x:{user}:\nnogroup:x:65534:\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    return made if world.network else made | {"/etc/hosts": "127.0.0.1 localhost sandbox\n"}


def _walls(world: World) -> Iterator[str]:
    """Yield the namespaces; as root without one for users, which would map us into it as root."""
    yield from ("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try")
    yield from ("--hostname", "sandbox", "--die-with-parent", "--new-session", "--clearenv")
    yield from ("--cap-drop", "ALL")
    if not world.network:
        yield "--unshare-net"
    if world.user_id is None:
        yield from ("--unshare-user", "--uid", str(_USER_ID), "--gid", str(_USER_ID))
    else:
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            yield from ("--cap-add", capability)


def _other_user(world: World) -> Iterator[str]:
    """Yield the command that stops being root and so gives up the last privileges."""
    if (user := world.user_id) is not None:
        yield from ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
        yield from ("--inh-caps=-all", "--bounding-set=-all", "--")


def _mounts(world: World) -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    yield from _etc(world)
    yield from ("--proc", "/proc", "--dev", "/dev")
    yield from ("--perms", "1777", "--size", str(world.limits.tmp_bytes // 4))
    yield from ("--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108 - the sandbox's own
    yield from ("--perms", "1777", "--size", str(world.limits.tmp_bytes))
    yield from ("--tmpfs", "/tmp", "--dir", "/run", *_parents("/var/tmp"))  # noqa: S108
    yield from ("--symlink", "../tmp", "/var/tmp")  # noqa: S108 - some programs know no other
    for shared in world.read_only_paths:
        yield from (*_parents(shared), "--ro-bind", shared, shared)
    yield from ("--bind", str(world.workspace), WORKSPACE, "--remount-ro", "/")


def _etc(world: World) -> Iterator[str]:
    """Yield what programs need of this machine's /etc."""
    for name in (*_SYSTEM_ETC, *(("/etc/hosts", "/etc/resolv.conf") if world.network else ())):
        if os.access(name, os.R_OK):
            yield from (*_parents(name), "--ro-bind", name, name)


def _parents(path: str) -> Iterator[str]:
    """Yield the directories above `path`, which bubblewrap alone would close to other users."""
    for parent in reversed(Path(path).parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))


def _environment(env: Mapping[str, str]) -> Iterator[str]:
    for name, value in (_ENVIRONMENT | dict(env)).items():
        yield from ("--setenv", name, value)
