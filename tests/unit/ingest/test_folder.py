"""Dropped files are taken in once they rest, put away when read, and no link leads anywhere."""

import os
from pathlib import Path

import pytest

from schemas.ingest import DocumentReceived, DocumentRefused
from services.errors import LogUnavailable
from services.ingest.folder import Folder
from services.ingest.watch import Watch
from services.runtime.agents import Agent, define
from tests.support.library import Library


class Watched(Library):
    """An agent's folder, looked into by any number of replicas."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.watch = self.replica()

    def replica(self, most_bytes=10**6):
        folder = Folder(self.root)
        folder.prepare()
        return Watch(self.documents(most_bytes), "acme", {"atlas": folder})

    def drop(self, path, content=b"hello"):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    async def look(self, times=2):
        for _ in range(times):
            await self.watch.run_once()

    async def read_all(self):
        for delivery in self.deliveries():
            await self.ingestion().handle(delivery)

    async def settle(self):
        await self.look()
        await self.read_all()
        await self.look(1)

    def files(self):
        found = [path for path in self.root.rglob("*") if not path.is_dir() or path.is_symlink()]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def reasons(self):
        return [event.reason for event in self.events(DocumentRefused)]


@pytest.fixture
async def watched(tmp_path):
    watched = Watched(tmp_path / "ingest" / "atlas")
    await define(watched.writer, Agent("acme", "atlas", "Atlas"))
    return watched


async def test_a_file_that_rests_is_taken_in_and_put_away_when_it_has_been_read(watched):
    watched.drop("a.md")
    await watched.look(1)
    assert watched.events() == []
    await watched.look(2)
    (received,) = watched.events()
    assert (received.name, received.body.bytes) == ("a.md", 5)
    assert watched.files() == ["a.md"]
    await watched.read_all()
    await watched.look(1)
    assert watched.files() == ["done/a.md"]
    await watched.look(3)
    assert len(watched.events(DocumentReceived)) == 1


async def test_a_file_that_still_grows_waits(watched):
    for number in range(1, 5):
        watched.drop("a.md", b"x" * number)
        await watched.look(1)
    assert watched.events() == []
    await watched.look(1)
    assert len(watched.events()) == 1


async def test_files_in_folders_keep_their_path(watched):
    watched.drop("x/y/a.md")
    await watched.settle()
    assert watched.events()[0].name == "x/y/a.md"
    assert watched.files() == ["done/x/y/a.md"]


async def test_hidden_files_and_downloads_under_way_are_left_alone(watched):
    for name in (".DS_Store", "b.pdf.part", ".git/config", "c.md~"):
        watched.drop(name)
    before = watched.files()
    await watched.settle()
    assert watched.events() == []
    assert watched.files() == before


async def test_the_same_name_again_is_put_beside_the_first(watched):
    watched.drop("a.md", b"one")
    await watched.settle()
    watched.drop("a.md", b"two")
    await watched.settle()
    assert watched.files() == ["done/a (2).md", "done/a.md"]
    assert (watched.root / "done" / "a.md").read_bytes() == b"one"


async def test_what_is_known_already_is_put_away_without_an_event(watched):
    watched.drop("a.md")
    await watched.settle()
    count = len(watched.events())
    watched.drop("a.md")
    await watched.look(2)
    assert len(watched.events()) == count
    assert watched.files() == ["done/a (2).md", "done/a.md"]


async def test_what_cannot_be_read_lies_among_the_refused_with_the_reason_beside_it(watched):
    watched.drop("good.md")
    watched.drop("x/bad.bin", bytes(range(256)) * 9)
    await watched.settle()
    assert watched.files() == [
        *("done/good.md", "refused/x/bad.bin", "refused/x/bad.bin.reason.txt")
    ]
    reason = (watched.root / "refused/x/bad.bin.reason.txt").read_text()
    assert reason.startswith("it is not a text")
    assert watched.reasons() == ["binary"]


@pytest.mark.parametrize("letter", ["x", "ü", "漢"], ids=["1_byte", "2_bytes", "3_bytes"])
async def test_a_name_as_long_as_any_is_put_away_twice_and_with_its_reason(watched, letter):
    """A folder takes 255 bytes of a name; with a number or `.reason.txt` it has more."""
    name = letter * (250 // len(letter.encode())) + ".bin"
    for _ in range(2):
        watched.drop(name, bytes(range(256)) * 9)
        await watched.settle()
    await watched.look(2)
    files = watched.files()
    assert [len(files), {file.split("/")[0] for file in files}] == [4, {"refused"}]
    reasons = [file for file in files if file.endswith(".reason.txt")]
    assert len(reasons) == 2
    assert all(f"{letter * 9}" in each for each in files)
    assert {(watched.root / each).read_text()[:14] for each in reasons} == {"it is not a te"}


async def test_a_file_that_is_too_large_is_never_read(watched):
    watched.watch = watched.replica(most_bytes=4)
    watched.drop("a.md", b"12345")
    await watched.look(3)
    assert watched.reasons() == ["too_large"]
    assert watched.files() == ["refused/a.md", "refused/a.md.reason.txt"]


async def test_a_link_is_not_followed(watched, tmp_path):
    secret = tmp_path / "secret.md"
    secret.write_text("swordfish")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key.md").write_text("swordfish")
    (watched.root / "link.md").symlink_to(secret)
    (watched.root / "folder").symlink_to(tmp_path / "private")
    await watched.settle()
    assert watched.reasons() == ["link", "link"]
    assert watched.bodies.bodies == {}
    assert (watched.root / "refused" / "link.md").is_symlink()
    assert secret.read_text() == "swordfish"
    await watched.look(3)
    assert len(watched.events()) == 2


async def test_folders_that_become_links_lead_nowhere(watched, tmp_path):
    """A folder is swapped for a link between the look and the reading."""
    watched.drop("x/a.md", b"mine")
    await watched.look(1)
    outside = tmp_path / "outside"
    (watched.root / "x").rename(outside)
    folder = Folder(watched.root)
    (watched.root / "x").symlink_to(outside)
    (found,) = [each for each in Folder(tmp_path).dropped() if each.path == "outside/a.md"]
    swapped = type(found)("x/a.md", "file", found.mark)
    assert folder.read(swapped) is None
    assert folder.file_done(swapped) is None
    assert (outside / "a.md").read_bytes() == b"mine"


async def test_done_as_a_link_takes_nothing(watched, tmp_path):
    (watched.root / "done").rmdir()
    (tmp_path / "outside").mkdir()
    (watched.root / "done").symlink_to(tmp_path / "outside")
    watched.drop("a.md")
    await watched.settle()
    assert list((tmp_path / "outside").iterdir()) == []
    assert (watched.root / "a.md").exists()


async def test_pipes_are_refused(watched):
    os.mkfifo(watched.root / "pipe")
    await watched.settle()
    assert watched.reasons() == ["not_a_file"]


async def test_a_file_that_changes_after_it_was_taken_in_is_taken_in_again(watched):
    file = watched.drop("a.md", b"one")
    await watched.look(2)
    file.write_bytes(b"other")
    await watched.read_all()
    await watched.look(1)
    assert watched.files() == ["a.md"]
    await watched.settle()
    assert watched.files() == ["done/a.md"]
    assert len(watched.events(DocumentReceived)) == 2


async def test_two_replicas_on_one_folder_take_everything_once(watched):
    other = watched.replica()
    for number in range(5):
        watched.drop(f"{number}.md", b"%d" % number)
    for _ in range(2):
        await other.run_once()
        await watched.look(1)
    await watched.read_all()
    await other.run_once()
    await watched.look(1)
    assert len(watched.events(DocumentReceived)) == 5
    assert watched.files() == [f"done/{number}.md" for number in range(5)]


async def test_a_process_that_died_between_the_two_names_of_a_file_is_followed(watched):
    file = watched.drop("a.md")
    os.link(file, watched.root / "done" / "a.md")
    await watched.settle()
    assert watched.files() == ["done/a.md"]


async def test_while_the_log_is_away_files_stay_where_they_are(watched):
    watched.drop("a.md")
    await watched.look(1)

    def away(_):
        raise LogUnavailable

    watched.log.before_append = away
    with pytest.raises(LogUnavailable):
        await watched.look(1)
    assert watched.files() == ["a.md"]
    watched.log.before_append = None
    await watched.settle()
    assert watched.files() == ["done/a.md"]


async def test_a_name_that_cannot_be_shown_is_refused(watched):
    watched.drop("a\nb.md")
    await watched.settle()
    assert watched.events() == []
    assert watched.files()[0] == "refused/a\nb.md"
