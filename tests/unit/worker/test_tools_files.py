"""File tools reach the workspace and nothing else, and leave whole files behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from services.errors import Rejected, SandboxUnavailable
from services.runtime.sandbox import (
    Limits,
    OutsideWorkspace,
    Sandbox,
    Unavailable,
    Workspace,
    walk,
    workspace,
)
from services.worker.tools import TOOLS, WorkerScope

BY_NAME = {tool.name: tool for tool in TOOLS}
SECRET = "hunter2"


@pytest.fixture
def root(tmp_path) -> Path:
    """The workspace; beside it is what must not be reached."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text(SECRET)
    (tmp_path / "w").mkdir()
    return tmp_path / "w"


@pytest.fixture
def scope(root):
    return WorkerScope(Sandbox(Path("/nonexistent"), root, Limits(file_bytes=1_000_000)))


@pytest.fixture
def call(scope):
    """Run a tool with arguments as a model writes them."""

    async def run(name, **arguments):
        tool = BY_NAME[name]
        return await tool.run(scope, "call-1", msgspec.convert(arguments, tool.arguments))

    return run


# Reading


async def test_a_file_is_shown_as_it_is(call, root):
    (root / "a.txt").write_text("one\n\n  two\r\nthree")
    assert (await call("file_read", path="a.txt")).text == "one\n\n  two\r\nthree"
    assert (await call("file_read", path="/workspace/a.txt")).text == "one\n\n  two\r\nthree"


async def test_some_lines_are_shown_with_where_to_read_on(call, root):
    (root / "a.txt").write_text("".join(f"line {n}\n" for n in range(1, 11)))
    output = await call("file_read", path="a.txt", offset=4, limit=2)
    assert output.text == "line 4\nline 5\n[lines 4 to 5 of 10; read on with offset 6]"
    assert output.full is None
    assert (await call("file_read", path="a.txt", offset=10)).text == "line 10"


async def test_reading_behind_the_end_is_an_error(call, root):
    (root / "a.txt").write_text("one\ntwo\n")
    output = await call("file_read", path="a.txt", offset=3)
    assert (output.text, output.status) == ("a.txt: it has 2 lines", "error")


async def test_an_empty_file_is_said_to_be_empty(call, root):
    (root / "a.txt").touch()
    output = await call("file_read", path="a.txt")
    assert (output.text, output.status) == ("a.txt: it is empty", "ok")


async def test_a_long_file_is_shown_up_to_a_whole_line_and_kept_beside(call, root):
    text = "".join(f"{n:06d} {'x' * 93}\n" for n in range(1_000))
    (root / "a.txt").write_text(text)
    output = await call("file_read", path="a.txt")
    assert len(output.text.encode()) <= 50_000
    *lines, note = output.text.splitlines()
    assert lines == text.splitlines()[: len(lines)]
    assert note == f"[lines 1 to {len(lines)} of 1000; read on with offset {len(lines) + 1}]"
    assert len(lines) > 490
    assert output.full == text.rstrip("\n").encode()


@pytest.mark.parametrize("rest", ["", "\nsecond"])
async def test_a_line_that_is_too_long_is_cut(call, root, rest):
    (root / "a.txt").write_text("🦉" * 100_000 + rest)
    output = await call("file_read", path="a.txt")
    assert len(output.text.encode()) <= 50_000
    assert "bytes left out ...]" in output.text
    assert output.full is not None
    assert ("offset 2]" in output.text) == bool(rest)


async def test_bytes_that_are_no_text_are_made_visible(call, root):
    (root / "a.bin").write_bytes(b"a\0b\xff\xed\xa0\x80")
    assert (await call("file_read", path="a.bin")).text == "a\u2400b\ufffd\ufffd\ufffd\ufffd"


async def test_a_file_too_large_to_hold_is_rejected(call, root):
    with (root / "big").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(Rejected, match="larger than"):
        await call("file_read", path="big")


@pytest.mark.parametrize("name", ["file_read", "file_list", "file_edit"])
async def test_what_is_missing_is_an_error(call, name):
    arguments = {"old": "a", "new": "b"} if name == "file_edit" else {}
    output = await call(name, path="nowhere", **arguments)
    assert (output.text, output.status) == ("nowhere: No such file or directory", "error")


async def test_a_directory_is_no_file(call, root):
    (root / "d").mkdir()
    for path in ("d", ".", "/workspace", "d/.."):
        output = await call("file_read", path=path)
        assert (output.text, output.status) == (f"{path}: Is a directory", "error")
        output = await call("file_write", path=path, content="")
        assert output.status == "error"


# Writing


async def test_a_file_is_created_with_its_directories(call, root):
    output = await call("file_write", path="a/b/c.txt", content="héllo\n")
    assert output.text == "created a/b/c.txt, 7 bytes"
    assert (root / "a/b/c.txt").read_text() == "héllo\n"


async def test_missing_directories_are_an_error_when_they_may_not_be_made(call, root):
    output = await call("file_write", path="a/b", content="", create_dirs=False)
    assert output.status == "error"
    assert list(root.iterdir()) == []


async def test_replacing_keeps_permissions_and_leaves_nothing_beside(call, root):
    (root / "run.sh").write_text("old")
    (root / "run.sh").chmod(0o755)
    assert (await call("file_write", path="run.sh", content="new")).text.startswith("replaced")
    assert (root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in root.iterdir()] == ["run.sh"]


async def test_writing_through_a_link_inside_keeps_the_link(call, root):
    (root / "real").mkdir()
    (root / "link").symlink_to("real/../real")
    (root / "real/name").symlink_to("/workspace/real/file")
    await call("file_write", path="link/name", content="new")
    assert (root / "real/file").read_text() == "new"
    assert (root / "real/name").is_symlink()


async def test_another_name_of_the_same_file_is_not_written_through(call, root):
    (root / "a").hardlink_to(root.parent / "outside/secret")
    await call("file_write", path="a", content="changed")
    assert (root.parent / "outside/secret").read_text() == SECRET


async def test_too_much_content_is_rejected_and_nothing_is_written(call, root):
    with pytest.raises(Rejected, match="1,000,001 bytes"):
        await call("file_write", path="big", content="x" * 1_000_001)
    assert list(root.iterdir()) == []


async def test_half_a_character_is_rejected(call, root):
    with pytest.raises(Rejected, match="lone surrogate"):
        await call("file_write", path="a", content="a\ud800")


async def test_a_full_disk_leaves_the_old_content_and_no_litter(call, root, monkeypatch):
    (root / "a").write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    output = await call("file_write", path="a", content="new")
    assert (output.text, output.status) == ("a: No space left on device", "error")
    assert (root / "a").read_text() == "old"
    assert [path.name for path in root.iterdir()] == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for somebody else")
async def test_what_root_makes_belongs_to_the_user_who_runs_commands(call, root):
    await call("file_write", path="a/b", content="")
    owner = Workspace(root).owner
    assert owner
    for path in (root, root / "a", root / "a/b"):
        assert (path.stat().st_uid, path.stat().st_gid) == (owner, owner)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for somebody else")
def test_a_workspace_that_moves_keeps_its_user(tmp_path):
    """Otherwise commands could not write the files that they made before the move."""
    users = set()
    for n in range(5):
        before, after = Workspace(tmp_path / f"{n}"), Workspace(tmp_path / f"{n}-elsewhere")
        before.prepare().rename(after.root)
        assert Workspace(after.root).owner == before.owner
        users.add(before.owner)
    assert len(users) > 1


WRITER = """
import sys
from pathlib import Path
from services.runtime.sandbox import Workspace
files = Workspace(Path(sys.argv[1]))
for n in range(1_000_000):
    files.write("file", bytes([65 + n % 2]) * 1_000_000)
    print(n, flush=True)
"""


@pytest.mark.parametrize("kill_after_ms", [0, 1, 2, 3, 5, 8])
def test_killed_while_writing_the_old_content_or_the_new_is_there(root, kill_after_ms):
    repository = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)], cwd=repository, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(kill_after_ms / 1_000)
        writer.send_signal(signal.SIGKILL)
    assert (root / "file").read_bytes() in (b"A" * 1_000_000, b"B" * 1_000_000)


# Editing


async def test_a_passage_is_replaced(call, root):
    (root / "a").write_text("one two\r\nthree\n")
    output = await call("file_edit", path="a", old="two\r\nthr", new="2\r\nthr")
    assert output.text == "1 replaced in a"
    assert (root / "a").read_bytes() == b"one 2\r\nthree\n"


@pytest.mark.parametrize(("text", "matches"), [("", 0), ("b", 0), ("aba", 2), ("a\na\na", 3)])
async def test_a_passage_that_is_not_unique_is_rejected_with_the_count(call, root, text, matches):
    (root / "a").write_text(text)
    with pytest.raises(Rejected, match=f"{matches} matches in a"):
        await call("file_edit", path="a", old="a", new="x")
    assert (root / "a").read_text() == text


async def test_all_occurrences_are_replaced_when_asked(call, root):
    (root / "a").write_text("aba")
    output = await call("file_edit", path="a", old="a", new="", replace_all=True)
    assert output.text == "2 replaced in a"
    assert (root / "a").read_text() == "b"


async def test_a_change_to_the_same_is_rejected(call, root):
    (root / "a").write_text("a")
    with pytest.raises(Rejected, match="the same"):
        await call("file_edit", path="a", old="a", new="a")


async def test_what_is_not_text_is_not_edited(call, root):
    (root / "a").write_bytes(b"a\xff")
    with pytest.raises(Rejected, match="not UTF-8"):
        await call("file_edit", path="a", old="a", new="b")


async def test_an_edit_that_grows_too_large_is_rejected(call, root):
    (root / "a").write_text("a" * 1_000)
    with pytest.raises(Rejected, match="is the most"):
        await call("file_edit", path="a", old="a", new="b" * 10_000, replace_all=True)
    assert (root / "a").read_text() == "a" * 1_000


def test_edits_at_the_same_time_are_all_kept(root):
    files = Workspace(root)
    files.write("count", b"0")

    def add():
        for _ in range(20):
            files.change("count", lambda content: str(int(content) + 1).encode(), limit=100)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files.read("count", limit=100) == b"80"


def test_an_edit_does_not_wait_for_ever(root, monkeypatch):
    monkeypatch.setattr(workspace, "_LOCK_WAIT_S", 0.05)
    files = Workspace(root)
    files.write("a", b"a")
    with files._lock(), pytest.raises(Rejected, match="does not end"):
        files.change("a", bytes.upper, limit=100)


# Listing


async def test_directories_come_first_each_in_order_of_name(call, root):
    for name in ("b", "a"):
        (root / name).mkdir()
    (root / "z").write_text("12345")
    (root / "c").symlink_to("z")
    os.mkfifo(root / "pipe")
    output = await call("file_list")
    assert output.text.splitlines() == [
        "a/",
        "b/",
        "c -> z",
        "pipe  (not a regular file)",
        "z  5 bytes",
    ]
    assert (await call("file_list", path="a")).text == "(empty)"


async def test_after_five_hundred_entries_the_rest_is_counted(call, root):
    for n in range(1_503):
        (root / f"{n:04d}").touch()
    (root / "zzz").mkdir()
    lines = (await call("file_list", path="/workspace")).text.splitlines()
    assert lines[:2] == ["zzz/", "0000  0 bytes"]
    assert lines[-2:] == ["0498  0 bytes", "... and 1,004 more"]
    assert len(lines) == 501


async def test_names_cannot_forge_lines_or_break_stores(call, root):
    (root / "a\nb").touch()
    (root / os.fsdecode(b"\xff\xfe")).touch()
    lines = (await call("file_list")).text.splitlines()
    assert lines == ["'a\\nb'  0 bytes", "'\\udcff\\udcfe'  0 bytes"]


async def test_a_file_is_no_directory(call, root):
    (root / "a").touch()
    output = await call("file_list", path="a")
    assert (output.text, output.status) == ("a: Not a directory", "error")


# Staying inside


@pytest.fixture(params=["file_read", "file_write", "file_edit", "file_list"])
def try_on(request, call):
    """Call one of the tools on a path; every one must refuse."""
    rest = {"file_write": {"content": "x"}, "file_edit": {"old": SECRET, "new": "x"}}

    async def run(path):
        return await call(request.param, path=path, **rest.get(request.param, {}))

    return run


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../outside/secret",
        "a/../../outside/secret",
        "/etc/passwd",
        "/",
        "/workspace/../etc/passwd",
        "/workspaces/x",
        "//workspace/x",
        "~/../../etc/passwd/../../..",
    ],
)
async def test_paths_that_lead_out_are_rejected(try_on, root, path):
    (root / "a").mkdir()
    (root / "~").mkdir()
    with pytest.raises(OutsideWorkspace):
        await try_on(path)


@pytest.mark.parametrize(
    "target", ["../outside", "/etc", "{outside}", "a/../../outside", "chain", "/workspace/../etc"]
)
@pytest.mark.parametrize("rest", ["", "/secret"])
async def test_links_that_lead_out_are_rejected(try_on, root, target, rest):
    (root / "a").mkdir()
    (root / "chain").symlink_to("a/next")
    (root / "a/next").symlink_to("../../outside")
    (root / "link").symlink_to(target.format(outside=root.parent / "outside"))
    with pytest.raises(OutsideWorkspace):
        await try_on(f"link{rest}")
    assert (root.parent / "outside/secret").read_text() == SECRET


async def test_links_in_a_circle_end(try_on, root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    output = await try_on("a")
    assert (output.text, output.status) == ("a: Too many levels of symbolic links", "error")


@pytest.mark.parametrize("name", ["file_read", "file_write", "file_edit"])
async def test_pipes_sockets_and_devices_are_rejected(call, root, name):
    os.mkfifo(root / "pipe")
    rest = {"file_write": {"content": "x"}, "file_edit": {"old": "a", "new": "b"}}
    with pytest.raises(Rejected, match="not a regular file"):
        await call(name, path="pipe", **rest.get(name, {}))


async def test_a_socket_is_not_opened(call, root, monkeypatch):
    monkeypatch.chdir(root)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert (await call("file_read", path="socket")).status == "error"
        with pytest.raises(Rejected):
            await call("file_write", path="socket", content="")


async def test_nul_in_a_path_is_rejected(try_on):
    with pytest.raises(Rejected, match="NUL"):
        await try_on("a\0b")


async def test_a_directory_swapped_for_a_link_midway_leads_nowhere(try_on, root, monkeypatch):
    """The swap comes at the worst moment: after the name was seen to be no link."""
    (root / "a").mkdir()
    (root / "a/secret").write_text("mine " + SECRET)
    look = walk._link

    def look_then_swap(name, directory):
        found = look(name, directory)
        if name == "a":
            (root / "a").rename(root / "was-a")
            (root / "a").symlink_to(root.parent / "outside")
        return found

    monkeypatch.setattr(walk, "_link", look_then_swap)
    output = await try_on("a/secret")
    assert (output.text, output.status) == ("a/secret: Not a directory", "error")
    assert (root.parent / "outside/secret").read_text() == SECRET


async def test_a_file_swapped_for_a_link_midway_leads_nowhere(call, root, monkeypatch):
    (root / "file").write_text("mine")
    look = walk._link

    def look_then_swap(name, directory):
        found = look(name, directory)
        (root / "file").unlink()
        (root / "file").symlink_to(root.parent / "outside/secret")
        return found

    monkeypatch.setattr(walk, "_link", look_then_swap)
    assert SECRET not in (await call("file_read", path="file")).text
    (root / "file").unlink()
    (root / "file").write_text("mine")
    with pytest.raises(Rejected):
        await call("file_write", path="file", content="changed")
    assert (root.parent / "outside/secret").read_text() == SECRET


def test_no_handle_stays_open(root):
    files = Workspace(root)
    before = len(list(Path("/proc/self/fd").iterdir()))
    files.write("a/b/c", b"x")
    (root / "out").symlink_to("/etc")
    for path in ("a/b/c", "a/b", "a/../..", "out/passwd", "a/b/c/d", "/workspace"):
        for attempt in (
            lambda path=path: files.read(path, limit=10),
            lambda path=path: files.entries(path, limit=10),
            lambda path=path: files.write(path, b"y"),
        ):
            try:
                attempt()
            except (OSError, Rejected):
                continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_without_a_sandbox_no_file_is_touched(root):
    """Commands cannot be confined, so nothing that a worker leaves behind would be."""
    scope = WorkerScope(Unavailable("bubblewrap is not installed", "Install it."))
    for tool in TOOLS:
        if tool.name.startswith("file_"):
            required = {"path": "a", "content": "x", "old": "a", "new": "b"}
            arguments = msgspec.convert(required, tool.arguments)
            with pytest.raises(SandboxUnavailable, match="not installed"):
                await tool.run(scope, "call-1", arguments)
    assert list(root.iterdir()) == []
