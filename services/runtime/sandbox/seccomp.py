"""A filter for system calls that need no privilege yet reach past the sandbox's walls.

New namespaces (a namespace of one's own makes most of the kernel's privileged code reachable), the
kernel's log and keyrings, and sockets that no network namespace contains, such as those between
a virtual machine and its host. Everything else is held by the namespaces and by having no
privileges.
"""

import platform
import struct
from dataclasses import dataclass
from typing import Final

from services.errors import SandboxUnavailable


@dataclass(frozen=True, slots=True)
class _Machine:
    """The numbers of one kind of processor."""

    arch: int  # AUDIT_ARCH_*
    clone: int
    socket: int
    denied: tuple[int, ...]
    """unshare, setns, bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl, syslog."""


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 56, 41, denied=(272, 308, 321, 298, 323, 248, 249, 250, 103)),
    "aarch64": _Machine(0xC00000B7, 220, 198, denied=(97, 268, 280, 241, 282, 217, 218, 219, 116)),
}
_CLONE3: Final = 435  # its flags are behind a pointer; C libraries fall back to clone
_IO_URING: Final = (425, 426, 427)  # runs other system calls where no filter sees them
_X32: Final = 0x4000_0000  # from here on, a second numbering of all calls on x86_64
_NAMESPACES: Final = 0x7E02_0000  # CLONE_NEW*
_FAMILIES: Final = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK

_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian

_ALLOW: Final = 0x7FFF_0000
_KILL: Final = 0x8000_0000
_EPERM: Final = 0x0005_0001
_ENOSYS: Final = 0x0005_0026
_EAFNOSUPPORT: Final = 0x0005_0061


def program(machine: str | None = None) -> bytes:
    """Return the filter as the kernel reads it, for `machine` or for the one we run on.

    Raises:
        SandboxUnavailable: we do not know this machine's system calls.
    """
    name = machine or platform.machine()
    numbers = _MACHINES.get(name)
    if numbers is None:
        raise SandboxUnavailable(
            f"the sandbox knows the processors {', '.join(_MACHINES)}, not {name}"
        )
    code = [_op(_LOAD, _ARCH), _op(_EQUAL, numbers.arch, yes=1), _op(_RETURN, _KILL)]
    code += [
        _op(_LOAD, _NUMBER),
        *_when(_AT_LEAST, _X32, _ENOSYS),
        *_when(_EQUAL, _CLONE3, _ENOSYS),
    ]
    for number in (*numbers.denied, *_IO_URING):
        code += _when(_EQUAL, number, _EPERM)
    code += _checked(numbers.clone, _when(_ANY_BIT, _NAMESPACES, _EPERM))
    families = [_op(_EQUAL, family, yes=len(_FAMILIES) - at) for at, family in enumerate(_FAMILIES)]
    code += _checked(numbers.socket, [*families, _op(_RETURN, _EAFNOSUPPORT)])
    return b"".join([*code, _op(_RETURN, _ALLOW)])


def _op(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """Return one instruction; `yes` and `no` are how many to skip after a comparison."""
    return struct.pack("=HBBI", code, yes, no, value)


def _when(comparison: int, value: int, answer: int) -> list[bytes]:
    """Answer with `answer` where the comparison holds."""
    return [_op(comparison, value, no=1), _op(_RETURN, answer)]


def _checked(number: int, check: list[bytes]) -> list[bytes]:
    """Run `check` on the first argument of call `number`, and allow what it does not answer."""
    body = [_op(_LOAD, _FIRST_ARGUMENT), *check, _op(_RETURN, _ALLOW)]
    return [_op(_EQUAL, number, no=len(body)), *body]
