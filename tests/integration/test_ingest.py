"""Handing documents in at the command line and by the folder, on a whole installation."""

import asyncio
import contextlib
import os
import pty
import subprocess

import pytest

from tests.support.command import environment, place
from tests.support.pdfs import locked, pdf
from tests.support.servers import until

pytestmark = pytest.mark.integration

RULES = "# Rules\n\nReleases go out on Friday.\n\n## Holidays\n\nAsk a month ahead.\n"


@pytest.fixture(scope="module")
def penstock(tmp_path_factory):
    here = place(tmp_path_factory.mktemp("ingest"))
    with here.up(PENSTOCK_INGEST_POLL_S="0.1", PENSTOCK_INGEST_MAX_BYTES="300000"):
        yield here


def written(penstock, name, content):
    path = penstock.cwd / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def events(penstock, *types):
    found = penstock.run("events", "--limit", "0", "--json").lines
    return [each for each in found if each["event"]["type"] in types]


def test_a_folder_is_handed_in_and_the_second_time_changes_nothing(penstock):
    written(penstock, "first/rules.md", RULES)
    written(penstock, "first/deep/notes.txt", "The staging server is called heron.")
    written(penstock, "first/picture.png", b"\x89PNG")
    said = penstock.run("ingest", "first")
    assert said.code == 0, said.err
    assert "first/rules.md: 1 passage, 1 of them new or moved" in said.out
    assert said.out.splitlines()[-1] == "2 documents, 2 new passages, skipped 1 file .png"
    before = events(penstock, "document_received", "chunks_stored", "document_ingested")
    again = penstock.run("ingest", "first", "--json")
    assert {(each["state"], each["is_new"]) for each in again.lines} == {("ingested", False)}
    after = events(penstock, "document_received", "chunks_stored", "document_ingested")
    assert after == before


def test_what_cannot_be_read_is_told_and_the_rest_is_taken_in(penstock):
    written(penstock, "mixed/good.md", "Good news.")
    written(penstock, "mixed/empty.txt", "")
    written(penstock, "mixed/locked.pdf", locked(pdf("secret"), "x"))
    written(penstock, "mixed/scan.pdf", pdf(""))
    written(penstock, "mixed/large.log", "x" * 300_001)
    written(penstock, "mixed/data.bin", bytes(range(256)) * 9)
    written(penstock, "mixed/two\nlines.md", "A name on two lines.")
    said = penstock.run("ingest", "mixed", "mixed/data.bin")
    assert said.code == 1
    assert "mixed/good.md: 1 passage" in said.out
    for name, why in (
        ("empty.txt", "no text in it"),
        ("locked.pdf", "protected by a password"),
        ("scan.pdf", "pictures without text"),
        ("large.log", "the limit is 300,000"),
        ("data.bin", "not a text"),
        ("two lines.md", "visible characters"),
    ):
        assert any(name in line and why in line for line in said.err.splitlines()), said.err
    refused = {each["event"]["data"]["reason"] for each in events(penstock, "document_refused")}
    assert {"empty", "encrypted", "no_text", "too_large", "binary"} <= refused
    listed = penstock.run("documents", "list", "--json").document
    states = {each["name"]: each["state"] for each in listed}
    assert states["mixed/good.md"] == "ingested"
    assert states["mixed/scan.pdf"] == "refused"


def test_of_a_changed_file_only_what_differs_is_stored(penstock):
    paragraphs = [f"Paragraph {n} of the handbook says this. " * 25 for n in range(60)]
    written(penstock, "handbook.md", "\n\n".join(paragraphs))
    (first,) = penstock.run("ingest", "handbook.md", "--json").lines
    paragraphs[30] = "Another thing altogether. " * 30
    written(penstock, "handbook.md", "\n\n".join(paragraphs))
    (second,) = penstock.run("ingest", "handbook.md", "--json").lines
    assert first["stored"] == first["chunks"] > 40
    assert 0 < second["stored"] <= 6
    assert second["document_id"] == first["document_id"]


def test_a_forgotten_document_is_no_longer_listed(penstock):
    written(penstock, "old.md", "Old news.")
    penstock.run("ingest", "old.md")
    said = penstock.run("documents", "forget", "old.md", "--reason", "old")
    assert (said.code, said.out) == (0, "Forgotten: old.md\n")
    names = [each["name"] for each in penstock.run("documents", "list", "--json").document]
    assert "old.md" not in names
    assert penstock.run("documents", "forget", "old.md").code == 1


def test_a_path_that_is_not_there_and_a_folder_of_nothing_are_errors(penstock):
    assert penstock.run("ingest", "nowhere.md").code == 1
    (penstock.cwd / "nothing").mkdir()
    assert penstock.run("ingest", "nothing").code == 2
    assert "no agent 'nobody'" in penstock.run("ingest", ".", "--agent", "nobody").err


def test_a_file_that_is_dropped_is_taken_in_and_put_away(penstock):
    folder = penstock.data_dir / "ingest" / "main"
    (folder / "dropped.md").write_text("Dropped into the folder.")
    (folder / "bad.bin").write_bytes(bytes(range(256)))

    async def put_away():
        return (folder / "done" / "dropped.md").exists() and (folder / "refused/bad.bin").exists()

    asyncio.run(until(put_away, timeout_s=30))
    reason = folder / "refused" / "bad.bin.reason.txt"
    asyncio.run(until(lambda: asyncio.to_thread(reason.exists), timeout_s=10))
    assert "not a text" in reason.read_text()
    states = {
        each["name"]: each["state"] for each in penstock.run("documents", "list", "--json").document
    }
    assert (states["dropped.md"], states["bad.bin"]) == ("ingested", "refused")


def test_progress_is_a_bar_on_a_terminal(penstock):
    written(penstock, "terminal.md", "\n\n".join(f"Paragraph {n}. " * 40 for n in range(300)))
    main, other = pty.openpty()
    process = subprocess.Popen(
        penstock.arguments("ingest", "terminal.md"),
        cwd=penstock.cwd,
        env=environment(TERM="xterm"),
        stdin=other,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    shown = b""
    with os.fdopen(main, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while some := screen.read(4_096):
            shown += some
    assert process.wait(30) == 0, shown
    assert "━".encode() in shown
    assert b"passages, " in shown


def test_rebuilt_read_models_do_not_differ(penstock):
    found = penstock.run("rebuild", "--check", "passages")
    assert found.code == 0, found.out


def test_a_question_is_answered_from_a_document_without_any_key(penstock):
    written(penstock, "servers.md", "# Servers\n\nThe staging server is called kingfisher.\n")
    penstock.run("ingest", "servers.md")
    said = penstock.run(
        "chat", "--conversation", "asks", "-m", "what is the staging server called?"
    )
    assert said.code == 0
    assert "kingfisher" in said.out
    assert "servers.md" in said.out
    rebuilt = penstock.run("rebuild", "passages")
    assert rebuilt.code == 0, rebuilt.err
    words = ("chat", "--conversation", "later", "-m", "what is the staging server called?")
    assert "kingfisher" in penstock.run(*words).out
