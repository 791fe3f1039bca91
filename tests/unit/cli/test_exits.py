"""What goes wrong is one sentence and one exit code."""

import errno

import pytest

from services.cli.dispatch import dispatch
from services.cli.exits import FAILED, NOT_RUNNING, USAGE, Misused, NotRunning, report
from services.errors import (
    InvalidConfiguration,
    LogFull,
    LogUnavailable,
    ModelRefused,
    Rejected,
)
from services.runtime.database import DatabaseUnavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidConfiguration(["port: no number"]), USAGE),
        (Misused("not both"), USAGE),
        (NotRunning("nothing runs"), NOT_RUNNING),
        (LogUnavailable("away"), NOT_RUNNING),
        (DatabaseUnavailable("away"), NOT_RUNNING),
        (LogFull("no room"), FAILED),
        (Rejected("no"), FAILED),
        (ModelRefused("bad key"), FAILED),
        (OSError(errno.EACCES, "Permission denied", "/a/file"), FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_family_of_errors_has_its_exit_code(error, code, capsys):
    assert report(error) == code
    said = capsys.readouterr()
    assert said.err.startswith("penstock: ")
    assert said.out == ""


def test_every_problem_of_a_configuration_is_listed(capsys):
    report(InvalidConfiguration(["one: wrong", "two: unknown"]))
    assert capsys.readouterr().err.splitlines() == [
        "penstock: the configuration is wrong:",
        "  one: wrong",
        "  two: unknown",
    ]


def test_a_file_that_cannot_be_read_is_named(capsys):
    report(OSError(errno.ENOENT, "No such file or directory", "/a/file"))
    assert capsys.readouterr().err == "penstock: /a/file: No such file or directory\n"


COMMON = {"json": False, "verbose": False, "config": None}


def test_where_nothing_runs_a_command_says_how_to_start_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {**COMMON, "data_dir": tmp_path / "data", "what": "c", "agent": None, "limit": 0}
    assert dispatch("trace:trace", given) == NOT_RUNNING
    said = capsys.readouterr().err
    assert "penstock up" in said
    assert str(tmp_path / "data") in said
    assert "Traceback" not in said


def test_a_value_out_of_its_range_is_wrong_usage(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    memory = {"text": "x", "kind": "fact", "importance": 3.0, "agent": "main"}
    assert dispatch("memory:save", {**COMMON, "data_dir": tmp_path, **memory}) == USAGE
    assert "--importance" in capsys.readouterr().err


def test_verbose_shows_where_an_error_comes_from(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {**COMMON, "verbose": True, "data_dir": tmp_path}
    assert dispatch("down:down", given) == NOT_RUNNING
    assert "Traceback" in capsys.readouterr().err
