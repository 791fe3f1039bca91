"""What one command may use, and the script that binds it to that."""

import resource
from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
WORD: Final = "read -r go"  # the start of every command line of ours, and of no other
_BLOCK_BYTES: Final = 512  # the unit of `ulimit -f` in every POSIX shell
_ADDRESS_SPACE: Final = 4  # times the memory: runtimes reserve far more than they touch


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one command; each process may use all of a bound that is not shared."""

    cpu_s: int = 300
    """Seconds of processor time, per process."""
    memory_bytes: int = 4096 * MIB
    """Bytes of data, per process, and of resident memory, for all processes together."""
    processes: int = 256
    """Processes and threads at once; as root, those of all the workspace's commands together."""
    file_bytes: int = 256 * MIB
    """Bytes of one file."""
    open_files: int = 1024
    """Open files, per process."""
    tmp_bytes: int = 256 * MIB
    """Bytes in /tmp, which is memory; /dev/shm has a quarter of it."""
    disk_reserve_bytes: int = 256 * MIB
    """Bytes of disk that must stay free, at most a twentieth of it: the log may be there too."""
    keep_bytes: int = 8 * MIB
    """Bytes of output that are kept."""
    prompt_silence_s: float = 5.0
    """Seconds of silence after what looks like a prompt until the command is stopped."""


def script(limits: Limits) -> str:
    """Return the shell script that waits for a line, limits itself and becomes the command.

    Its arguments are the directory to work in and the command's argument vector. It gives up with
    exit code 126 rather than run anything without its limits, or without somebody to watch it.
    """
    data, space = limits.memory_bytes // 1024, _ADDRESS_SPACE * limits.memory_bytes // 1024
    processes = _allowed(limits.processes, resource.RLIMIT_NPROC)
    steps = (
        WORD,
        "umask 022",
        "ulimit -c 0",
        f"ulimit -t {_allowed(limits.cpu_s, resource.RLIMIT_CPU)}",
        f"ulimit -d {_allowed(data, resource.RLIMIT_DATA, unit=1024)}",
        f"ulimit -v {_allowed(space, resource.RLIMIT_AS, unit=1024)}",
        f"ulimit -f {_allowed(limits.file_bytes // _BLOCK_BYTES, resource.RLIMIT_FSIZE, unit=512)}",
        f"ulimit -n {_allowed(limits.open_files, resource.RLIMIT_NOFILE)}",
        # bash calls it -u, dash and busybox -p
        f"{{ ulimit -u {processes} 2>/dev/null || ulimit -p {processes}; }}",
        # where memory runs out, the kernel takes this command and not one of our services
        "echo 1000 >/proc/self/oom_score_adj",
        'cd "$1"',
    )
    return " && ".join(steps) + ' || exit 126; shift; exec nice -n 10 "$@" </dev/null'


def _allowed(wanted: int, which: int, *, unit: int = 1) -> int:
    """Return `wanted`, in units of `unit`, or less where our own hard limit is lower."""
    _, hard = resource.getrlimit(which)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard // unit)
