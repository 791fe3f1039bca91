"""NATS or Postgres dies, or the disk is full, while people talk: nothing is lost, talk goes on."""

import asyncio
import random
import shutil
import subprocess

import nats
import pytest

from schemas.channel import MessageReceived, TurnCompleted
from services.errors import LogFull, Transient
from services.runtime.embedded.nats import EmbeddedNats
from services.runtime.jetstream.log import STREAM
from tests.support.chaos import Crowd, brain, settled
from tests.support.fleet import BROKEN_OFF, EVERYBODY, installation
from tests.support.openai_server import OpenAIServer
from tests.support.servers import SYNC, kill, until

pytestmark = [pytest.mark.acceptance, BROKEN_OFF]

OFFLINE = {"PENSTOCK_MODEL": "offline/rules"}
DOWN_S = (0.2, 1.5, 4.0)  # a restart, a slow restart, longer than two heartbeats


async def created(nats_url):
    """Return when each durable of the log was made."""
    client = await nats.connect(nats_url)
    try:
        infos = await client.jetstream().consumers_info(STREAM)
    finally:
        await client.close()
    return {info.name: info.created for info in infos if info.config.durable_name}


async def test_nothing_is_lost_when_nats_is_killed_again_and_again_while_people_talk(
    own_nats, database_url, tmp_path
):
    chance = random.Random(3)  # noqa: S311 - repeatable, not secret
    async with (
        OpenAIServer(brain(chance)) as server,
        installation(
            own_nats.url,
            database_url,
            tmp_path,
            {EVERYBODY: 2},
            PENSTOCK_MODEL="openai/chaos",
            OPENAI_API_KEY="sk-not-a-secret",
            OPENAI_API_BASE=server.url,
            PENSTOCK_CHANNEL_MAX_RETRIGGERS="100",
        ) as running,
    ):
        people = Crowd(running.intake, conversations=15, messages=5, pause_s=(0.2, 4.0))
        talking = asyncio.create_task(people.talk())
        await running.has(lambda it: isinstance(it.event, TurnCompleted), room="room-0")
        durables = await created(own_nats.url)
        for seconds in DOWN_S:
            await asyncio.sleep(2.0)
            await kill(own_nats)
            await asyncio.sleep(seconds)
            await own_nats.start()
        people.sent["after"].append("p-99-0")
        await running.say("p-99-0", room="after")
        await running.hears("ack p-99-0", room="after", timeout_s=8)
        await talking
        verdict = await settled(running.log, people.sent, timeout_s=60)
        codes = await running.fleet.stop()
    assert verdict.problems == []
    assert verdict.unsettled == []
    assert {"channel", "branch", "worker"} <= durables.keys()
    async with asyncio.timeout(10):
        assert await created(own_nats.url) == durables
    assert codes == [0, 0]


async def test_people_talk_while_postgres_is_away_and_the_read_models_catch_up(
    empty_nats_url, own_postgres, tmp_path
):
    async with installation(
        empty_nats_url, own_postgres.url, tmp_path, {EVERYBODY: 2}, **OFFLINE
    ) as running:
        await running.say("remember that our release day is Thursday")
        await running.hears("Thursday")
        await kill(own_postgres)
        await running.say("hello", room="plain")
        await running.hears("Hello", room="plain", timeout_s=5)
        await running.say("run: echo worked", room="work")
        await running.hears("worked\n", room="work", timeout_s=10)
        await running.say("when is our release day?", room="recall")
        await running.hears("not available at the moment", room="recall", timeout_s=30)
        for slot in running.fleet.slots:  # what starts without Postgres works without it
            await running.fleet.kill(slot)
        await running.say("hello", room="restarted")
        await running.hears("Hello", room="restarted", timeout_s=20)
        await own_postgres.start()
        await running.caught_up()
        await running.say("when is our release day?", room="later")
        await running.hears("Thursday", room="later")
        verdict = await settled(running.log, {}, timeout_s=10)
        codes = await running.fleet.stop()
        checked = await running.fleet.command("rebuild", "--check")
    assert verdict.problems == []
    assert verdict.unsettled == []
    assert codes == [0, 0]
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def outages_of_postgres(nats_url, postgres, tmp_path, *, away_s, messages):
    """Let people talk while Postgres is killed and away; everything is answered and projected."""
    async with installation(nats_url, postgres.url, tmp_path, {EVERYBODY: 1}, **OFFLINE) as running:
        people = Crowd(running.intake, conversations=20, messages=messages, pause_s=(0.1, 1.0))
        talking = asyncio.create_task(people.talk())
        for seconds in away_s:
            await asyncio.sleep(0.7)
            await kill(postgres)
            await asyncio.sleep(seconds)
            await postgres.start()
        await talking
        await running.caught_up()
        verdict = await settled(running.log, {}, timeout_s=10)
        codes = await running.fleet.stop()
        checked = await running.fleet.command("rebuild", "--check")
    assert verdict.problems == []
    assert verdict.unsettled == []
    assert codes == [0]
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_postgres_is_killed_again_and_again_while_people_talk(
    empty_nats_url, own_postgres, tmp_path
):
    await outages_of_postgres(
        empty_nats_url, own_postgres, tmp_path, away_s=(0.0, 0.5, 2.0), messages=8
    )


@pytest.mark.soak
async def test_postgres_is_away_for_a_minute_while_people_talk(
    empty_nats_url, own_postgres, tmp_path
):
    await outages_of_postgres(empty_nats_url, own_postgres, tmp_path, away_s=(60.0,), messages=110)


class Talker:
    """Somebody who goes on saying new things, and remembers what was acknowledged and what not."""

    def __init__(self, running) -> None:
        self.running = running
        self.acknowledged: dict[str, int] = {}
        self.refused: dict[str, Transient] = {}
        self.tried: list[str] = []

    async def say(self, size: int) -> Transient | None:
        """Say something of `size` characters; return why it was not taken, if it was not."""
        key = f"m{len(self.tried)}"
        self.tried.append(key)
        return await self.repeat(key, size)

    async def repeat(self, key: str, size: int) -> Transient | None:
        try:
            receipt = await self.running.say(f"{key} {'x' * size}", room="full", key=key)
        except Transient as error:
            self.refused[key] = error
            return error
        self.acknowledged[key] = receipt.seq
        return None


async def kept(running, talker):
    """Make sure that every message is in the log once, where it was said to be, and no gap."""
    seqs, places = [], {}
    async for recorded in running.log.read("evt.>", fresh=True):
        seqs.append(recorded.seq)
        if isinstance(recorded.event, MessageReceived):
            places.setdefault(recorded.event.message_id, []).append(recorded.seq)
    assert places == {key: [seq] for key, seq in talker.acknowledged.items()}
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_full_log_takes_nothing_and_says_so_and_goes_on_when_there_is_room(
    tmp_path, database_url
):
    async with (
        EmbeddedNats(tmp_path / "small", sync=SYNC, max_file_bytes=1_000_000) as server,
        installation(server.url, database_url, tmp_path, {EVERYBODY: 1}, **OFFLINE) as running,
    ):
        talker = Talker(running)
        await until(lambda: talker.say(10_000), timeout_s=30)
        for _ in range(3):
            assert isinstance(await talker.say(10_000), LogFull)
        with pytest.raises(LogFull):
            await running.bodies.put(b"x" * 100_000)
        await server.stop()
        server._max_file_bytes = None
        await server.start()
        for key in talker.refused:
            assert await talker.repeat(key, 10_000) is None
        verdict = await settled(running.log, {}, timeout_s=30)
        await kept(running, talker)
        codes = await running.fleet.stop()
    assert len(talker.refused) >= 4
    assert all(isinstance(error, LogFull) for error in talker.refused.values())
    assert verdict.problems == []
    assert verdict.unsettled == []
    assert codes == [0]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small file system takes root and the right to mount")
    yield place
    subprocess.run([umount, "-l", str(place)], check=True)


async def test_what_a_full_disk_refuses_is_taken_when_there_is_room_again(
    small_disk, tmp_path, database_url
):
    async with (
        EmbeddedNats(small_disk / "nats", max_file_bytes=1_000_000_000) as server,
        installation(server.url, database_url, tmp_path, {EVERYBODY: 1}, **OFFLINE) as running,
    ):
        talker = Talker(running)
        assert await talker.say(5_000) is None
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
        await until(lambda: talker.say(5_000), timeout_s=60)
        assert isinstance(talker.refused[talker.tried[-1]], LogFull)
        with pytest.raises(LogFull, match="no space left on device"):
            await running.bodies.put(b"x" * 100_000)
        ballast.unlink()

        async def started_again():
            return server.state == "running" and server.restarts

        await until(started_again)
        for key in talker.refused:
            assert await talker.repeat(key, 5_000) is None
        verdict = await settled(running.log, {}, timeout_s=30)
        await kept(running, talker)
        codes = await running.fleet.stop()
    assert verdict.problems == []
    assert verdict.unsettled == []
    assert codes == [0]
