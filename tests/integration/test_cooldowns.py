"""One process's rate limit spares the others, by whatever clocks, and with or without NATS."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from services.errors import ModelUnavailable
from services.runtime import ids
from services.runtime.cancelling import end
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.cooldowns import KEYS, STREAM, SharedCooldowns
from services.runtime.model import Message, ModelRequest
from services.runtime.offline import OfflineModel
from services.runtime.router import RetryPolicy, Router
from tests.support.fake_clock import FakeClock
from tests.support.scripted_model import ScriptedModel, says
from tests.support.servers import kill, until

pytestmark = pytest.mark.integration

LIMITED = ModelUnavailable("slow down", rate_limited=True)
YEARS_AGO = 1_000_000_000_000_000  # no clock of a machine is asked for the time


def a_model() -> str:
    return f"openrouter/some vendor/{ids.new()}:free > *"  # a name may have any characters


@dataclass
class Replica:
    """What one process has of it."""

    connection: Connection
    clock: FakeClock = field(default_factory=lambda: FakeClock(YEARS_AGO))

    def __post_init__(self) -> None:
        self.cooldowns = SharedCooldowns(self.connection, self.clock)
        self.following = asyncio.create_task(self.cooldowns.follow())

    async def rests(self, model: str) -> bool:
        return await self.cooldowns.is_cooling(model)

    async def follows(self) -> bool:
        """Tell whether what is told from now on is heard, and kept for those who come later."""
        info = await self.connection.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")
        await self.connection.client.flush()
        return b'"config"' in info.data

    async def close(self) -> None:
        await end(self.following)
        await self.connection.close()


@pytest.fixture
async def replica():
    async with AsyncExitStack() as stack:

        async def start(url: str) -> Replica:
            one = Replica(await Connection.open(url))
            stack.push_async_callback(one.close)
            await until(one.follows)
            return one

        yield start


def router(model: ScriptedModel, replica: Replica, fallback: str) -> Router:
    return Router(
        model,
        OfflineModel(),
        policy=RetryPolicy(fallbacks=(fallback,)),
        clock=replica.clock,
        cooldowns=replica.cooldowns,
    )


async def test_a_limit_that_one_process_meets_spares_the_others(nats_url, replica):
    first, second = a_model(), a_model()
    one, other = await replica(nats_url), await replica(nats_url)
    request = ModelRequest(model=first, messages=(Message(role="user", content="hello"),))
    limited, spared = ScriptedModel(LIMITED, says("hello")), ScriptedModel(says("hello"))
    await router(limited, one, second).complete(request)
    await until(lambda: other.rests(first))
    await router(spared, other, second).complete(request)
    assert [asked.model for asked in limited.requests] == [first, second]
    assert [asked.model for asked in spared.requests] == [second]
    other.clock.advance(60)
    assert not await other.rests(first)


async def test_who_comes_later_knows_it_too(nats_url, replica):
    model = a_model()
    await (await replica(nats_url)).cooldowns.cool(model, 600)
    later = await replica(nats_url)
    await until(lambda: later.rests(model))
    later.clock.advance(601)
    assert not await later.rests(model)


async def test_what_is_left_of_a_rest_is_told_by_the_server_and_not_by_anybodys_clock(
    nats_url, replica
):
    """Here time stands still in every process, and still the rest comes to its end."""
    short, long = a_model(), a_model()
    one = await replica(nats_url)
    await one.cooldowns.cool(short, 1)
    await one.cooldowns.cool(long, 600)

    async def a_newcomer_knows_of_the_long_one_only():
        newcomer = await replica(nats_url)
        await until(lambda: newcomer.rests(long))  # they are read in order
        return not await newcomer.rests(short)

    await until(a_newcomer_knows_of_the_long_one_only)
    assert await one.rests(short)


async def test_the_longer_of_two_rests_holds(nats_url, replica):
    model, last = a_model(), a_model()
    one, other = await replica(nats_url), await replica(nats_url)
    await one.cooldowns.cool(model, 600)
    await until(lambda: other.rests(model))
    await other.cooldowns.cool(model, 5)
    await other.cooldowns.cool(last, 600)
    later = await replica(nats_url)
    await until(lambda: later.rests(last))
    for each in (one, other, later):
        each.clock.advance(500)
        assert await each.rests(model)


async def test_asking_sends_nothing_and_telling_waits_for_nothing(nats_url, replica):
    model = a_model()
    one = await replica(nats_url)
    await end(one.following)  # so that all that is sent is what is sent here
    client = one.connection.client
    sent, heard = client.stats["out_msgs"], client.stats["in_msgs"]
    await one.cooldowns.cool(model, 600)
    assert all([await one.rests(model) for _ in range(1_000)])
    assert not await one.rests(a_model())
    assert client.stats["out_msgs"] == sent + 1
    assert client.stats["in_msgs"] == heard


async def test_what_nobody_understands_harms_nobody(nats_url, replica):
    model = a_model()
    one, other = await replica(nats_url), await replica(nats_url)
    await one.connection.publish(f"{KEYS}.nonsense", b"\xff{")
    await one.connection.publish(f"{KEYS}.newer", b'{"model": 1, "until": "later"}')
    await one.cooldowns.cool(model, 600)
    later = await replica(nats_url)
    for each in (other, later):
        await until(lambda each=each: each.rests(model))


async def test_without_nats_each_goes_by_what_it_knows_and_then_they_share_again(own_nats, replica):
    before, during, after = a_model(), a_model(), a_model()
    one, other = await replica(own_nats.url), await replica(own_nats.url)
    await one.cooldowns.cool(before, 600)
    await until(lambda: other.rests(before))
    await kill(own_nats)
    await until(lambda: _away(one, other))
    await one.cooldowns.cool(during, 600)
    assert [await each.rests(before) for each in (one, other)] == [True, True]
    assert [await each.rests(during) for each in (one, other)] == [True, False]
    await own_nats.start()

    async def told():
        await one.cooldowns.cool(after, 600)
        one.clock.advance(601)  # as if it had met the limit again, so that it tells again
        return await other.rests(after)

    await until(told, timeout_s=30)
    newcomer = await replica(own_nats.url)
    await until(lambda: newcomer.rests(after), timeout_s=30)
    assert not await newcomer.rests(during)


async def _away(*replicas: Replica) -> bool:
    return not any(each.connection.connected for each in replicas)


async def test_who_was_away_reads_what_it_missed(nats_url, replica):
    """Its connection breaks, and does not come back before the others have told something."""
    model = a_model()
    one, other = await replica(nats_url), await replica(nats_url)
    back = asyncio.Event()
    client = other.connection.client
    select = client._select_next_server

    async def select_when_allowed():
        await back.wait()
        await select()

    client._select_next_server = select_when_allowed
    client._transport.close()
    await until(lambda: _away(other))
    await one.cooldowns.cool(model, 600)
    reader = one.cooldowns._reader
    await until(lambda: reader.from_leader({"last_by_subj": f"{KEYS}.>"}))
    assert not await other.rests(model)
    back.set()
    await until(lambda: other.rests(model), timeout_s=30)
