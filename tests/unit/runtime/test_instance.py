"""A running installation can be found, and a dead one is not."""

import os
import stat
import subprocess

import msgspec
import pytest

from services.runtime import instance


@pytest.fixture
def running():
    return instance.here(
        started_at=1,
        nats_url="nats://u:hunter2@h",
        database_url="postgresql://u:hunter2@h/d",
        address=("127.0.0.1", 8420),
        token="hunter2",
    )


def test_what_runs_is_found_until_it_ends(tmp_path, running):
    assert instance.find(tmp_path) is None
    with instance.announced(tmp_path, running):
        assert instance.find(tmp_path) == running
    assert instance.find(tmp_path) is None


def test_only_its_owner_can_read_the_file(tmp_path, running):
    with instance.announced(tmp_path, running):
        assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]


def test_what_was_killed_is_not_found(tmp_path, running):
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    dead = msgspec.structs.replace(running, pid=process.pid)
    with instance.announced(tmp_path, dead):
        assert instance.find(tmp_path) is None


def test_another_process_with_the_id_of_a_dead_one_is_not_taken_for_it(tmp_path, running):
    with instance.announced(tmp_path, msgspec.structs.replace(running, mark="long ago")):
        assert instance.find(tmp_path) is None


def test_a_file_that_was_cut_short_counts_as_none(tmp_path):
    (tmp_path / "run.json").write_text('{"pid": 1')
    assert instance.find(tmp_path) is None


def test_the_end_of_one_does_not_hide_its_successor(tmp_path, running):
    successor = msgspec.structs.replace(running, started_at=2)
    with instance.announced(tmp_path, running):
        (tmp_path / "run.json").write_bytes(msgspec.json.encode(successor))
    assert instance.find(tmp_path) == successor


def test_secrets_are_not_shown(running):
    assert "hunter2" not in repr(running)
    assert running.pid == os.getpid()
