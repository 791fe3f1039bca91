"""The log file grows to its size and is moved aside."""

import io
import json
import logging

import structlog

from services.cli.log_file import LogFile
from services.runtime import logs


def test_lines_are_in_the_file_at_once(tmp_path):
    path = tmp_path / "logs" / "penstock.log"
    with LogFile(path) as file:
        file.write("one\n")
        assert path.read_text() == "one\n"


def test_a_full_file_is_moved_aside_and_the_oldest_is_dropped(tmp_path):
    path = tmp_path / "penstock.log"
    with LogFile(path, most_bytes=10, kept=2) as file:
        for number in range(5):
            file.write(f"line {number}\n")
    assert path.read_text() == "line 4\n"
    assert (tmp_path / "penstock.log.1").read_text() == "line 3\n"
    assert (tmp_path / "penstock.log.2").read_text() == "line 2\n"
    assert not (tmp_path / "penstock.log.3").exists()


def test_a_later_start_goes_on_in_the_same_file(tmp_path):
    path = tmp_path / "penstock.log"
    for text in ("one\n", "two\n"):
        with LogFile(path, most_bytes=8) as file:
            file.write(text)
    assert path.read_text() == "one\ntwo\n"


def test_what_cannot_be_encoded_is_replaced(tmp_path):
    path = tmp_path / "penstock.log"
    with LogFile(path) as file:
        file.write("a\ud800b\n")
    assert path.read_text() == "a?b\n"


def test_warnings_are_also_said_to_a_person_without_their_traceback(tmp_path):
    terminal = io.StringIO()
    with LogFile(tmp_path / "penstock.log") as file:
        logs.configure(service="test", format="json", stream=file, echo=terminal)
        structlog.get_logger().info("quiet")
        try:
            int("inside")
        except ValueError:
            structlog.get_logger().exception("loud")
        logging.getLogger("library").warning("from a library")
    lines = (tmp_path / "penstock.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["quiet", "loud", "from a library"]
    assert "inside" in lines[1]
    said = terminal.getvalue()
    assert "loud" in said
    assert "from a library" in said
    assert "quiet" not in said
    assert "inside" not in said
