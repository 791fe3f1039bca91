"""Commands stay inside the sandbox and within its limits, whatever they try.

These run under real bubblewrap, as whoever runs the tests; root is the harder case.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from services.errors import SandboxUnavailable
from services.runtime.sandbox import Available, Limits, Sandbox, probe
from services.runtime.sandbox.layout import Command, World, arguments
from services.runtime.sandbox.orphans import sweep

pytest_plugins = ["tests.support.sandbox"]
pytestmark = pytest.mark.integration

MIB = 1 << 20
LIMITS = Limits(
    memory_bytes=256 * MIB,
    processes=64,
    file_bytes=8 * MIB,
    tmp_bytes=8 * MIB,
    keep_bytes=MIB,
    prompt_silence_s=0.3,
)
MARK = f"4711{os.getpid()}"  # what only commands of this run have in their command lines
PYTHON = os.path.realpath(sys.executable)


@pytest.fixture
def make(bwrap, tmp_path):
    """Return sandboxes; names are the agents'."""

    def build(name="atlas", *, network=False, **limits):
        return Sandbox(bwrap, tmp_path / name, replace(LIMITS, **limits), network=network)

    return build


@pytest.fixture
def sandbox(make):
    return make()


@pytest.fixture
def python(bwrap, tmp_path):
    """Run Python code in a sandbox that can read the tests' own Python."""

    async def run(code, *, network=False, timeout_s=60.0, **limits):
        shared = [sys.base_prefix]
        sandbox = Sandbox(
            bwrap,
            tmp_path / "python",
            replace(LIMITS, **limits),
            network=network,
            read_only_paths=shared,
        )
        sandbox.files.write("script.py", code.encode())
        return await sandbox.run([PYTHON, "script.py"], timeout_s=timeout_s)

    return run


def marked(marker: str) -> list[int]:
    """Return the processes on this machine whose command line contains `marker`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def exists(path: str) -> bool:
    return os.path.lexists(path)


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition, *, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


# What a command can do


async def test_the_probe_finds_a_version(bwrap):
    found = await probe([bwrap])
    assert isinstance(found, Available)
    assert found.version.startswith("bubblewrap ")


async def test_a_command_works_in_its_workspace(sandbox):
    result = await sandbox.run(
        "pwd; echo $HOME; mkdir d; echo kept > d/file; echo oops >&2; exit 3"
    )
    assert result.output == b"/workspace\n/workspace\noops\n"
    assert (result.exit_code, result.stopped, result.truncated) == (3, None, False)
    assert (sandbox.files.root / "d/file").read_text() == "kept\n"


async def test_a_signal_is_shown_as_its_exit_code(sandbox):
    assert (await sandbox.run("kill -SEGV $$")).exit_code == 128 + signal.SIGSEGV


async def test_a_command_starts_where_it_is_told_to(sandbox):
    await sandbox.run("mkdir -p deep/er; chmod 700 deep")
    assert (await sandbox.run("pwd", cwd="/workspace/deep/er")).output == b"/workspace/deep/er\n"
    missing = await sandbox.run("pwd", cwd="/workspace/nowhere")
    assert missing.exit_code == 126
    assert b"nowhere" in missing.output


async def test_variables_are_the_sandboxs_and_the_calls_only(sandbox, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    result = await sandbox.run("env; cat /proc/*/environ | tr '\\0' '\\n'", env={"GREETING": "hi"})
    assert b"hunter2" not in result.output
    names = {line.split(b"=")[0] for line in result.output.splitlines() if b"=" in line}
    assert b"GREETING" in names
    assert b"CI=true" in result.output
    assert names <= {
        *(b"PATH", b"HOME", b"TMPDIR", b"LANG", b"TERM", b"USER", b"LOGNAME", b"SHELL", b"CI"),
        *(b"DEBIAN_FRONTEND", b"GREETING", b"PWD", b"OLDPWD", b"SHLVL", b"_"),
    }


async def test_it_works_under_uvloop_too(bwrap, tmp_path):
    async def work():
        return await Sandbox(bwrap, tmp_path / "w").run(
            "head -c 3000000 /dev/zero; sleep 60", timeout_s=1
        )

    def loop():
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work())

    result = await asyncio.to_thread(loop)
    assert result.timed_out
    assert len(result.output) == 3_000_000


async def test_many_at_once_do_not_mix_and_leave_no_handle_open(sandbox):
    await sandbox.run("true")
    before = open_handles()
    results = await asyncio.gather(*(sandbox.run(f"echo {n}; sleep 0.1") for n in range(20)))
    assert [int(result.output) for result in results] == list(range(20))
    assert open_handles() == before


# What a command cannot reach


@pytest.mark.parametrize(
    "path", ["/", "/usr", "/etc", "/dev", "/run", "/var", "/proc/sys/kernel", "/workspace/.."]
)
async def test_only_the_workspace_and_tmp_can_be_written(sandbox, path):
    result = await sandbox.run(["/bin/sh", "-c", 'touch "$1/escaped" && echo written', "sh", path])
    assert result.exit_code != 0
    assert not exists(f"{path}/escaped")
    assert (await sandbox.run("touch here /tmp/there /var/tmp/there")).exit_code == 0


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "/root", "/home", "/var/lib", "/sys", "/boot", "/proc/kcore", "/opt"]
)
async def test_the_rest_of_the_machine_cannot_be_read(sandbox, path):
    result = await sandbox.run(["/bin/sh", "-c", 'cat "$1" || ls "$1"', "sh", path])
    assert result.exit_code != 0, result.output


async def test_further_paths_can_be_read_but_not_written(bwrap, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/data").write_text("for everybody")
    (tmp_path / "shared").chmod(0o777)  # so that only the sandbox is in the way
    sandbox = Sandbox(bwrap, tmp_path / "w", LIMITS, read_only_paths=[str(tmp_path / "shared")])
    result = await sandbox.run(f"cd {tmp_path}/shared && cat data; touch more || ls {tmp_path}")
    assert result.output.startswith(b"for everybody")
    assert result.output.endswith(b"shared\n")


async def test_neither_our_files_nor_another_agents_can_be_read(make, tmp_path):
    (tmp_path / "penstock.toml").write_text("token = 'hunter2'")
    atlas, other = make("atlas"), make("other")
    other.files.write("diary", b"hunter2")
    result = await atlas.run(
        f"cat {tmp_path}/penstock.toml {tmp_path}/other/diary /workspace/../other/diary "
        f"/workspace/../penstock.toml; ls /workspace/.. {tmp_path}; find / -name diary"
    )
    assert b"hunter2" not in result.output
    assert b"diary:" not in result.output.replace(b"diary: No such file", b"")


async def test_links_out_of_the_workspace_lead_nowhere(sandbox, tmp_path):
    (tmp_path / "secret").write_text("hunter2")
    sandbox.files.prepare()
    (sandbox.files.root / "planted").symlink_to(tmp_path / "secret")
    result = await sandbox.run(
        f"ln -s {tmp_path}/secret mine; ln -s ../secret up; cat planted mine up; "
        "ln /usr/bin/env hard || echo no hard link"
    )
    assert b"hunter2" not in result.output
    assert b"no hard link" in result.output


async def test_proc_shows_the_sandbox_only(sandbox):
    result = await sandbox.run(
        f"ls -d /proc/[0-9]* | wc -l; kill -0 {os.getpid()} && echo found the parent; "
        "cat /proc/1/root/etc/shadow /proc/1/cwd/etc/shadow; ls -l /proc/self/fd /proc/$$/fd; "
        "echo core > /proc/sys/kernel/core_pattern && echo changed the kernel; "
        "echo b > /proc/sysrq-trigger && echo rebooted"
    )
    assert int(result.output.split()[0]) < 10
    for claim in (b"found the parent", b"root:$", b"root:!", b"root:*", b"changed", b"rebooted"):
        assert claim not in result.output
    opened = [line.split(b" -> ")[1] for line in result.output.splitlines() if b" -> " in line]
    assert all(name.startswith((b"/dev/null", b"pipe:", b"/proc/")) for name in opened), opened


async def test_a_command_has_no_privileges_and_gets_none(sandbox):
    result = await sandbox.run(
        "grep -E 'Cap|NoNewPrivs' /proc/self/status; unshare -U true && echo namespaced; "
        "mount -t tmpfs none /workspace && echo mounted; chown 0 /workspace && echo chowned"
    )
    held = dict(line.split() for line in result.output.splitlines() if line[:3] in (b"Cap", b"NoN"))
    assert held.pop(b"NoNewPrivs:") == b"1"
    assert {int(value, 16) for value in held.values()} == {0}
    for claim in (b"namespaced", b"mounted", b"chowned"):
        assert claim not in result.output


async def test_a_command_is_not_root_outside_even_when_we_are(sandbox):
    await sandbox.run("touch mine")
    owner = (sandbox.files.root / "mine").stat().st_uid
    assert owner != 0
    assert owner == (os.geteuid() or sandbox.files.owner)


CALLS_BESIDE_THE_WALLS = """
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    print(name, "allowed" if libc.syscall(*args) >= 0 else errno.errorcode[ctypes.get_errno()])
call("userfaultfd", NUMBERS[0], 0)
call("keyctl", NUMBERS[1], 0, -3, 1)
call("syslog", NUMBERS[2], 10, 0, 0)
call("io_uring", 425, 8, ctypes.create_string_buffer(200))
call("clone3", 435, 0, 0)
for family in (socket.AF_VSOCK, socket.AF_ALG):
    try:
        socket.socket(family, socket.SOCK_STREAM)
        print(family, "allowed")
    except OSError as error:
        print(family.name, errno.errorcode[error.errno])
socket.socketpair()
print("local sockets work")
"""


async def test_calls_that_no_namespace_contains_are_refused(python):
    numbers = {"x86_64": (323, 250, 103), "aarch64": (282, 219, 116)}[os.uname().machine]
    result = await python(CALLS_BESIDE_THE_WALLS.replace("NUMBERS", repr(numbers)))
    assert result.output.decode().splitlines() == [
        "userfaultfd EPERM",
        "keyctl EPERM",
        "syslog EPERM",
        "io_uring EPERM",
        "clone3 ENOSYS",
        "AF_VSOCK EAFNOSUPPORT",
        "AF_ALG EAFNOSUPPORT",
        "local sockets work",
    ]


CONNECT = """
import socket, sys
try:
    print(socket.create_connection(("127.0.0.1", PORT), 5).recv(99))
except OSError as error:
    print("refused", error)
"""


@pytest.mark.parametrize("network", [False, True])
async def test_our_servers_are_reached_only_where_the_network_is_allowed(python, network):
    async def greet(_, writer):
        writer.write(b"hello from outside")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await python(CONNECT.replace("PORT", str(port)), network=network)
    assert (b"hello from outside" in result.output) is network


async def test_a_sandbox_that_cannot_be_built_runs_nothing_and_says_why(bwrap, tmp_path):
    sandbox = Sandbox(bwrap, tmp_path / "w", LIMITS, read_only_paths=["/no/such/directory"])
    with pytest.raises(SandboxUnavailable, match="/no/such/directory"):
        await sandbox.run("touch ran")
    assert list(sandbox.files.root.iterdir()) == []


# What a command cannot use up


async def test_a_fork_bomb_is_contained(sandbox):
    bomb = f"bomb{MARK}() {{ bomb{MARK} | bomb{MARK} & }}; bomb{MARK}; sleep 60"
    running = asyncio.create_task(sandbox.run(bomb, timeout_s=1))
    most = 0
    while not running.done():
        most = max(most, len(marked(f"bomb{MARK}")))
        await asyncio.sleep(0.02)
    assert 2 < most <= LIMITS.processes + 3  # bubblewrap's own show the command, too
    assert not marked(f"bomb{MARK}")
    assert (await running).duration_ms < 5_000


async def test_the_number_of_processes_is_limited(make):
    counted = await make(processes=20).run(
        "n=0; while [ $n -lt 200 ]; do sleep 30 & n=$((n + 1)); echo $n; done; echo unlimited"
    )
    assert b"unlimited" not in counted.output
    assert 10 <= int(counted.output.split(b"/bin/sh")[0].split()[-1]) < 20


async def test_a_process_that_wants_too_much_memory_fails_alone(python):
    result = await python("x = bytearray(1 << 29)")
    assert result.exit_code == 1
    assert b"MemoryError" in result.output


HOGS = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        x = bytearray(100 << 20)
        for i in range(0, len(x), 4096):
            x[i] = 1
        time.sleep(60)
print("hogging", flush=True)
time.sleep(60)
"""


FAMILY = """
import os, time
x = b"1" * (100 << 20)
for _ in range(4):
    if os.fork() == 0:
        break
time.sleep(1)
"""


async def test_processes_that_hold_too_much_together_are_stopped(python):
    result = await python(HOGS, timeout_s=30)
    assert result.stopped == "out_of_memory"
    assert result.output == b"hogging\n"


async def test_shared_memory_counts_once(python):
    """Forked children share their parent's pages; summing them up would kill the innocent."""
    assert (await python(FAMILY)).stopped is None


async def test_memory_in_files_is_limited(sandbox):
    result = await sandbox.run(
        "for d in /tmp /dev/shm; do"
        " for n in 1 2 3; do head -c 4M /dev/zero > $d/$n || echo full $d; done; done"
    )
    assert b"full /tmp" in result.output
    assert b"full /dev/shm" in result.output


async def test_processor_time_is_limited(make):
    result = await make(cpu_s=1).run("while :; do :; done", timeout_s=30)
    assert result.stopped is None
    assert result.exit_code in (128 + signal.SIGXCPU, 128 + signal.SIGKILL)


async def test_the_size_of_a_file_is_limited(sandbox):
    result = await sandbox.run("head -c 20M /dev/zero > big")
    assert result.exit_code != 0
    assert (sandbox.files.root / "big").stat().st_size == LIMITS.file_bytes


async def test_a_nearly_full_disk_stops_a_command(sandbox, monkeypatch):
    free = os.statvfs("/")
    full = os.statvfs_result((*free[:4], 0, *free[5:]))  # the fifth is what is left for us
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert (await sandbox.run("exec sleep 60")).stopped == "disk_full"


async def test_a_hundred_megabytes_of_output_neither_fill_our_memory_nor_block(sandbox):
    total = 100_000_000
    result = await sandbox.run(f"echo first; head -c {total} /dev/zero; echo last")
    assert result.exit_code == 0
    assert len(result.output) < LIMITS.keep_bytes + 100
    assert result.output.startswith(b"first\n\0")
    assert result.output.endswith(b"\0last\n")
    assert result.dropped == total + len("first\nlast\n") - LIMITS.keep_bytes


# When a command ends


async def test_a_hanging_command_is_stopped_in_time_and_what_it_printed_is_kept(sandbox):
    result = await sandbox.run(f"echo working; exec sleep {MARK}", timeout_s=0.5)
    assert result.timed_out
    assert result.output == b"working\n"
    assert 500 <= result.duration_ms < 3_000
    assert not marked(MARK)


async def test_ignoring_signals_does_not_help(sandbox):
    result = await sandbox.run(
        f"trap '' TERM INT HUP QUIT; echo ready; while :; do sleep {MARK}; done", timeout_s=0.5
    )
    assert result.timed_out
    assert not marked(MARK)


@pytest.mark.parametrize(
    "command",
    [
        f"sleep {MARK} & echo left",
        f"setsid nohup sleep {MARK} >/dev/null 2>&1 & echo left",
        f"(trap '' HUP TERM; sleep {MARK} </dev/null >/workspace/log 2>&1 &) ; echo left",
    ],
    ids=["beside it", "in a session of its own", "deaf to signals"],
)
async def test_what_was_left_in_the_background_is_gone_when_the_command_is(sandbox, command):
    result = await sandbox.run(command, timeout_s=30)
    assert result.output == b"left\n"
    assert result.duration_ms < 5_000
    assert not marked(MARK)


async def test_cancelling_kills_everything_at_once(sandbox):
    running = asyncio.create_task(
        sandbox.run(f"sleep {MARK} & touch started; exec sleep {MARK}", timeout_s=60)
    )
    await until((sandbox.files.root / "started").exists)
    assert marked(MARK)
    asked = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - asked < 2
    assert not marked(MARK)


async def test_cancelling_at_any_moment_leaves_nothing(sandbox):
    for n in range(60):
        running = asyncio.create_task(sandbox.run(f"exec sleep {MARK}", timeout_s=60))
        await asyncio.sleep(n * 0.0004)  # a start takes about 15 ms
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not marked(MARK)


ALONE = """
import asyncio, sys
from pathlib import Path
from services.runtime.sandbox import Sandbox
asyncio.run(Sandbox(Path(sys.argv[1]), Path(sys.argv[2])).run(
    f"sleep {sys.argv[3]} & touch started; sleep {sys.argv[3]}", timeout_s=60))
"""


def start_alone(bwrap, workspace) -> subprocess.Popen:
    repository = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", ALONE, str(bwrap), str(workspace), MARK], cwd=repository
    )


async def test_when_we_are_killed_so_is_the_command(bwrap, tmp_path):
    service = start_alone(bwrap, tmp_path / "w")
    try:
        await until((tmp_path / "w/started").exists)
        await until(lambda: len(marked(f"sleep\0{MARK}")) == 2)
    finally:
        service.kill()
        service.wait()
    await until(lambda: not marked(MARK))


async def test_what_a_crash_left_without_its_bubblewrap_is_swept_away(bwrap, make, sandbox):
    lost = make("lost").files
    lost.prepare()
    world = World(lost.root, LIMITS, user_id=lost.owner)
    words = arguments(world, Command(["/bin/sleep", MARK]))
    words.remove("--die-with-parent")  # as if it was killed before it could see to that
    monitor = await asyncio.create_subprocess_exec(bwrap, *words, stdin=subprocess.PIPE)
    in_use = asyncio.create_task(sandbox.run("touch started; exec sleep 1"))
    monitor.stdin.write(b"go\n")
    await until(lambda: any(parent(pid) not in (0, os.getpid()) for pid in marked(MARK)))
    await until((sandbox.files.root / "started").exists)
    assert sweep() == 0
    monitor.kill()
    await monitor.wait()
    assert marked(MARK)
    assert sweep() == 1
    await until(lambda: not marked(MARK))
    assert (await in_use).exit_code == 0


async def test_a_command_killed_from_outside_has_still_run(sandbox):
    """It must not look like a sandbox that never started, which would be safe to try again."""
    running = asyncio.create_task(sandbox.run(f"touch started; exec sleep {MARK}"))
    await until((sandbox.files.root / "started").exists)
    (monitor,) = [pid for pid in marked(MARK) if parent(pid) == os.getpid()]
    assert os.getpgid(monitor) != os.getpgrp()  # so Ctrl-C does not reach it
    os.kill(monitor, signal.SIGKILL)
    assert (await running).exit_code == 128 + signal.SIGKILL
    assert not marked(MARK)


async def test_a_command_that_waits_for_an_answer_is_stopped_soon(sandbox):
    result = await sandbox.run("printf 'Overwrite? [y/N] '; exec sleep 60", timeout_s=30)
    assert result.stopped == "waits_for_input"
    assert result.output == b"Overwrite? [y/N] "
    assert result.duration_ms < 5_000


async def test_silence_alone_is_no_reason_to_stop(sandbox):
    result = await sandbox.run("echo compiling; sleep 1; echo done")
    assert result.stopped is None
    assert result.output == b"compiling\ndone\n"


async def test_reading_what_nobody_types_ends_at_once(sandbox):
    assert (await sandbox.run("read -r answer || echo nobody")).output == b"nobody\n"
