"""Embedded servers come and go with the program and keep what they were given."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

import msgspec
import nats
import psycopg
import pytest
from nats.js.errors import APIError

from services.runtime import processes
from services.runtime.config import Config
from services.runtime.embedded import (
    DataDirectoryInUse,
    EmbeddedNats,
    EmbeddedPostgres,
    ServerFailed,
    Servers,
    account,
)
from services.runtime.embedded.postgres import programs
from services.runtime.secret import Secret
from tests.support.servers import kill, until

pytestmark = pytest.mark.integration

IS_ROOT = os.geteuid() == 0
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from services.runtime.config import Config
from services.runtime.embedded import EmbeddedNats, EmbeddedPostgres, Servers

if "orphans" in sys.argv:  # as where there is no parent-death signal
    EmbeddedNats.death_signal = EmbeddedPostgres.death_signal = 0

async def main():
    servers = Servers(Config(data_dir=Path(sys.argv[1])))
    async with servers as urls:
        pids = [status.pid for status in servers.status()]
        print(json.dumps([urls.nats, urls.database, *pids]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def program(data_dir, *arguments):
    """Run servers in another program; yields it, both URLs and both process ids."""
    command = [sys.executable, "-c", PROGRAM, str(data_dir), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process, *json.loads(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def stranger():
    """Run a process that has nothing to do with us."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


async def store(nats_url, database_url):
    """Write one message and one row."""
    client = await nats.connect(nats_url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"x")
    await client.close()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS n")


async def stored(nats_url, database_url):
    """Count what `store` wrote."""
    client = await nats.connect(nats_url)
    messages = (await client.jetstream().stream_info("KEPT")).state.messages
    await client.close()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        rows = await (await connection.execute("SELECT n FROM kept")).fetchall()
    return messages, len(rows)


async def publish(streams, *, megabytes):
    for _ in range(2 * megabytes):
        await streams.publish("s", b"x" * 500_000)


async def all_gone(*pids):
    async def condition():
        return all(processes.started(pid) is None for pid in pids)

    await until(condition)


def proc(pid, name):
    return Path(f"/proc/{pid}/{name}").read_bytes()


def servers_in(data_dir):
    return Servers(Config(data_dir=data_dir))


def pids_of(servers):
    return [status.pid for status in servers.status()]


def states_of(servers):
    return [status.state for status in servers.status()]


async def test_what_was_stored_is_there_after_a_restart_at_the_same_addresses(tmp_path):
    async with servers_in(tmp_path) as first:
        await store(first.nats, first.database)
    async with servers_in(tmp_path) as second:
        assert second == first
        assert await stored(second.nats, second.database) == (1, 1)


async def test_a_warm_start_and_a_stop_are_fast(tmp_path):
    async with servers_in(tmp_path):
        pass
    before = time.perf_counter()
    async with servers_in(tmp_path):
        ready = time.perf_counter()
        assert ready - before < 1.5
        done = time.perf_counter()
    assert time.perf_counter() - done < 3.0


async def test_the_database_has_the_vector_extension(own_postgres):
    async with await psycopg.AsyncConnection.connect(own_postgres.url) as connection:
        row = await (await connection.execute("SELECT '[1,2]'::vector <-> '[1,3]'")).fetchone()
    assert row == (1.0,)


async def test_only_the_owner_may_read_what_holds_a_password(own_nats, own_postgres):
    for server in (own_nats, own_postgres):
        assert stat.S_IMODE(server.directory.stat().st_mode) & 0o066 == 0
        assert stat.S_IMODE((server.directory / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((own_nats.directory / "nats.conf").stat().st_mode) == 0o600


async def test_a_wrong_password_is_refused(own_nats, own_postgres):
    password = (own_nats.directory / "password").read_text()
    stranger = EmbeddedNats(own_nats.directory, port=own_nats.port)
    stranger._password = "wrong"
    assert await own_nats._is_ready()
    assert not await stranger._is_ready()
    password = (own_postgres.directory / "password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await psycopg.AsyncConnection.connect(own_postgres.url.replace(password, "wrong"))


async def test_servers_are_not_given_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-private")
    servers = servers_in(tmp_path)
    async with servers:
        for pid in pids_of(servers):
            assert b"sk-private" not in proc(pid, "environ")


async def test_servers_end_with_a_killed_program_and_the_next_start_has_everything(
    tmp_path,
):
    with program(tmp_path) as (process, nats_url, database_url, *pids):
        await store(nats_url, database_url)
        process.send_signal(SIGKILL)
        await all_gone(process.pid, *pids)
    async with servers_in(tmp_path) as urls:
        assert await stored(urls.nats, urls.database) == (1, 1)


async def test_the_next_start_stops_servers_that_outlived_the_program(tmp_path):
    with program(tmp_path, "orphans") as (process, nats_url, database_url, *pids):
        await store(nats_url, database_url)
        process.send_signal(SIGKILL)
        process.wait()
    assert all(processes.started(pid) for pid in pids)
    servers = servers_in(tmp_path)
    async with servers as urls:
        assert [processes.started(pid) for pid in pids] == [None, None]
        assert await stored(urls.nats, urls.database) == (1, 1)
        assert states_of(servers) == ["running", "running"]


async def test_a_stale_pid_file_that_names_a_stranger_is_ignored_and_the_stranger_lives(tmp_path):
    async with servers_in(tmp_path) as urls:
        await store(urls.nats, urls.database)
        pid_files = [tmp_path / "nats" / "nats.pid", tmp_path / "postgres/data/postmaster.pid"]
        contents = [file.read_text() for file in pid_files]
    with stranger() as process:
        for file, content in zip(pid_files, contents, strict=True):
            _, _, rest = content.partition("\n")
            file.write_text(f"{process.pid}\n{rest}")
        async with servers_in(tmp_path) as urls:
            assert await stored(urls.nats, urls.database) == (1, 1)
        assert process.poll() is None


async def test_a_crash_of_postgres_leaves_a_pid_file_that_does_not_hinder(own_postgres):
    await kill(own_postgres)
    assert (own_postgres.directory / "data" / "postmaster.pid").exists()
    url = own_postgres.url
    assert await own_postgres.start() == url


async def test_an_initialisation_that_was_cut_short_is_done_again(tmp_path):
    half_done = tmp_path / "data.new"
    half_done.mkdir()
    (half_done / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(tmp_path):
        assert not half_done.exists()


async def test_another_port_is_taken_when_the_remembered_one_is_not_free(tmp_path):
    async with EmbeddedNats(tmp_path) as server:
        port = server.port
    with socket.create_server(("127.0.0.1", port)):
        async with EmbeddedNats(tmp_path) as server:
            assert server.port != port


async def test_a_given_port_that_is_taken_is_an_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerFailed, match=f"nats: port {port} is taken"):
            await EmbeddedNats(tmp_path, port=port).start()


async def test_a_second_program_on_one_data_directory_is_told_who_has_it(tmp_path):
    with program(tmp_path) as (process, *_):
        with pytest.raises(DataDirectoryInUse, match=f"in use by process {process.pid}"):
            async with servers_in(tmp_path):
                pass
        process.send_signal(SIGKILL)
        process.wait()
    async with servers_in(tmp_path):
        pass


async def test_a_server_that_dies_is_restarted_on_its_port_with_its_data(tmp_path):
    servers = servers_in(tmp_path)
    async with servers as urls:
        await store(urls.nats, urls.database)
        for pid in pids_of(servers):
            os.kill(pid, SIGKILL)

        async def both_are_back():
            return [status.restarts for status in servers.status()] == [1, 1]

        await until(both_are_back)
        assert states_of(servers) == ["running", "running"]
        assert await stored(urls.nats, urls.database) == (1, 1)
    assert states_of(servers) == ["stopped", "stopped"]


async def test_a_restart_waits_for_its_port(tmp_path):
    async with EmbeddedNats(tmp_path) as server:
        await kill(server)
        with socket.create_server(("127.0.0.1", server.port)):
            failures = (tmp_path / "nats.log").read_text().count("address already in use")

            async def has_failed():
                log = (tmp_path / "nats.log").read_text()
                return log.count("address already in use") > failures

            await until(has_failed)
            assert server.state == "restarting"

        async def is_back():
            return server.state == "running"

        await until(is_back)


async def test_a_stop_during_a_restart_leaves_nothing_behind(tmp_path):
    async with EmbeddedNats(tmp_path) as server:
        await kill(server)

        async def is_restarting():
            return server.state == "restarting"

        await until(is_restarting)
    assert server.state == "stopped"
    assert server.pid is None


@pytest.mark.parametrize(
    "server",
    [
        lambda path: EmbeddedNats(path, sync="never"),
        lambda path: EmbeddedPostgres(path, settings={"shared_buffers": "much"}),
    ],
    ids=["nats", "postgres"],
)
async def test_a_failed_start_tells_the_end_of_the_log_and_leaves_nothing_running(tmp_path, server):
    server = server(tmp_path)
    with pytest.raises(ServerFailed, match=r"(sync_interval|shared_buffers)"):
        await server.start()
    assert server.pid is None
    assert server.state == "stopped"


async def test_when_one_server_fails_the_other_is_stopped_and_the_directory_released(
    tmp_path, monkeypatch
):
    config = msgspec.structs.replace(
        Config(data_dir=tmp_path), log=msgspec.structs.replace(Config().log, sync="never")
    )
    servers = Servers(config)
    with pytest.raises(ServerFailed, match="nats ended"):
        async with servers:
            pass
    assert pids_of(servers) == [None, None]
    async with servers_in(tmp_path):
        pass


async def test_external_servers_are_used_and_nothing_is_started_or_made(tmp_path):
    data_dir = tmp_path / "unused"
    config = Config(
        data_dir=data_dir,
        nats_url=Secret("nats://elsewhere:4222"),
        database_url=Secret("postgresql://elsewhere/db"),
    )
    servers = Servers(config)
    async with servers as urls:
        assert (urls.nats, urls.database) == ("nats://elsewhere:4222", "postgresql://elsewhere/db")
        assert states_of(servers) == ["external", "external"]
    assert not data_dir.exists()
    assert "elsewhere" not in repr(urls)


async def test_a_full_log_is_refused_and_room_for_it_is_found_again(tmp_path):
    async with EmbeddedNats(tmp_path, max_file_bytes=2_000_000) as server:
        client = await nats.connect(server.url)
        streams = client.jetstream()
        await streams.add_stream(name="S", subjects=["s"])
        with pytest.raises(APIError) as refused:
            await publish(streams, megabytes=5)
        await client.close()
    assert refused.value.err_code == 10023  # insufficient resources
    async with EmbeddedNats(tmp_path) as server:
        client = await nats.connect(server.url)
        await publish(client.jetstream(), megabytes=5)
        await client.close()


async def test_a_large_log_of_a_server_is_moved_aside(tmp_path, monkeypatch):
    monkeypatch.setattr("services.runtime.embedded.server.LOG_BYTES", 10)
    (tmp_path / "nats.log").write_text("from long ago")
    async with EmbeddedNats(tmp_path):
        assert (tmp_path / "nats.log.1").read_text() == "from long ago"


async def test_a_cluster_keeps_what_was_acknowledged_when_its_leader_is_killed(nats_cluster):
    cluster = await nats_cluster(3)
    client = await nats.connect(cluster.url.split(","))
    streams = client.jetstream()
    await streams.add_stream(name="S", subjects=["s"], num_replicas=3)
    await streams.publish("s", b"before")
    leader = await cluster.leader("S")
    await kill(leader)

    async def is_acknowledged():
        return await streams.publish("s", b"after", timeout=1)

    await until(is_acknowledged, timeout_s=20)
    await leader.start()
    assert (await streams.get_msg("S", 1)).data == b"before"
    await client.close()


@pytest.mark.skipif(not IS_ROOT, reason="only root must run Postgres as somebody else")
class TestAsRoot:
    async def test_files_stay_roots_where_user_namespaces_work(self, tmp_path):
        async with EmbeddedPostgres(tmp_path) as server:
            if server._account.startswith("namespace"):
                assert (tmp_path / "data").stat().st_uid == 0
            async with await psycopg.AsyncConnection.connect(server.url):
                pass

    async def test_an_account_that_cannot_be_taken_is_noticed_before_it_matters(self):
        assert not await account._works("namespace:no:body", programs() / "postgres")

    async def test_an_account_is_used_where_they_do_not(self, tmp_path, monkeypatch):
        async with EmbeddedPostgres(tmp_path) as server:  # made under the first rule
            url = server.url

        async def forbidden(*_):
            return False

        monkeypatch.setattr(account, "_works", forbidden)
        async with EmbeddedPostgres(tmp_path) as server:
            assert server.url == url
            owner = (tmp_path / "data").stat().st_uid
            assert owner != 0
            assert f"\nUid:\t{owner}\t{owner}\t".encode() in proc(server.pid, "status")
            async with await psycopg.AsyncConnection.connect(url):
                pass
        monkeypatch.undo()
        async with EmbeddedPostgres(tmp_path):  # and stays, once the data is that account's
            assert (tmp_path / "data").stat().st_uid == owner
