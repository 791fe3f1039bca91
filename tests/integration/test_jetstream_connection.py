"""What is said, and what goes on, while the log takes nothing."""

import asyncio
from contextlib import suppress
from itertools import count

import msgspec
import pytest

from schemas.envelope import encode
from services.errors import LogFull, LogUnavailable
from services.runtime.cancelling import end
from services.runtime.closing import closing
from services.runtime.event_log import Append
from services.runtime.jetstream import connection as module
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.consumers import lags
from services.runtime.jetstream.log import STREAM, JetStreamLog, _Consumption
from services.runtime.jetstream.pulling import Puller
from tests.contracts.event_log import a_subject, message, texts
from tests.support.servers import kill, until

pytestmark = pytest.mark.integration


@pytest.fixture
async def connection(own_nats):
    connection = await Connection.open(own_nats.url)
    yield connection
    await connection.close()


@pytest.fixture
async def log(connection):
    log = JetStreamLog(connection)
    await log.create()
    return log


async def test_a_log_that_is_away_and_a_full_buffer_do_not_stop_the_process(
    own_nats, connection, log, monkeypatch
):
    monkeypatch.setattr(module, "BUDGET_S", 0.5)
    await kill(own_nats)

    async def away():
        return not connection.connected

    await until(away)
    for size in (1_000_000, 1_000, 10):
        with suppress(LogUnavailable):
            while True:
                await connection.publish("nobody.listens", bytes(size))
    turns = 0

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    going_on = asyncio.create_task(others())
    await asyncio.sleep(0)
    before = turns
    with pytest.raises(LogUnavailable):
        await log.append(a_subject(), message())
    assert turns > before
    await end(going_on)


async def test_a_full_log_refuses_whatever_is_appended_and_stores_nothing_of_it(connection, log):
    subject, other = a_subject(), a_subject()
    seq = await log.append(subject, message("first"))
    info = msgspec.json.decode(
        (await connection.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")).data
    )
    full = {**info["config"], "max_bytes": info["state"]["bytes"]}
    await connection.ask(f"$JS.API.STREAM.UPDATE.{STREAM}", msgspec.json.encode(full))
    batch = [Append(subject, message("two"), seq), Append(other, message("three"), 0)]
    with pytest.raises(LogFull):
        await log.append(subject, message("two"))
    with pytest.raises(LogFull):
        await log.append_if(subject, seq, message("two"))
    with pytest.raises(LogFull):
        await log.append_batch(batch)
    assert await texts(log.read("evt.>", fresh=True)) == ["first"]
    await connection.ask(f"$JS.API.STREAM.UPDATE.{STREAM}", msgspec.json.encode(info["config"]))
    assert await log.append_batch(batch) == 3
    assert await texts(log.read("evt.>", fresh=True)) == ["first", "two", "three"]


async def test_a_batch_waits_while_too_many_others_are_under_way(connection, log):
    def part(number, place, **last):
        headers = {"Nats-Batch-Id": f"b{number}", "Nats-Batch-Sequence": str(place), **last}
        return connection.request(a_subject(), encode(message()), headers)

    under_way = [await part(number, 1) for number in range(201)]
    assert b"too many inflight" in under_way[-1].data
    appends = [Append(a_subject(), message("one")), Append(a_subject(), message("two"))]
    appending = asyncio.create_task(log.append_batch(appends))
    sent = connection.client.stats["out_msgs"]

    async def has_been_refused():
        return connection.client.stats["out_msgs"] > sent + 1

    await until(has_been_refused)
    assert not appending.done()
    for number in range(200):
        await part(number, 2, **{"Nats-Batch-Commit": "1"})
    seq = await appending
    assert await texts(log.read("evt.>", after=seq - 2, until=seq, fresh=True)) == ["one", "two"]


def breaking_once(method):
    """Return `method` with a bug that shows at its first call."""
    calls = count()

    async def breaks(self, *arguments):
        if next(calls) == 0:
            raise ZeroDivisionError
        await method(self, *arguments)

    return breaks


async def test_a_bug_in_asking_restarts_a_consumer_instead_of_silencing_it(log, monkeypatch):
    monkeypatch.setattr(Puller, "_ask", breaking_once(Puller._ask))
    handled = asyncio.Event()

    async def handle(_):
        handled.set()

    subject = a_subject()
    consuming = asyncio.create_task(log.consume("fragile", [subject], handle))
    await log.append(subject, message())
    async with asyncio.timeout(20):
        await handled.wait()
    await end(consuming)


async def test_a_bug_in_the_heartbeats_hands_back_what_they_kept_alive(log, monkeypatch):
    started, cancelled, handled = asyncio.Event(), asyncio.Event(), asyncio.Event()
    broken = breaking_once(_Consumption._beat)

    async def beat(self):
        await started.wait()
        await broken(self)

    monkeypatch.setattr(_Consumption, "_beat", beat)

    async def handle(delivery):
        if delivery.redelivered:
            handled.set()
            return
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    subject = a_subject()
    consuming = asyncio.create_task(log.consume("fragile", [subject], handle))
    await log.append(subject, message())
    async with asyncio.timeout(20):
        await handled.wait()
    assert cancelled.is_set()
    await end(consuming)


async def test_a_bug_beside_a_tail_restarts_it(log, monkeypatch):
    monkeypatch.setattr(Puller, "_ask", breaking_once(Puller._ask))
    subject = a_subject()
    await log.append(subject, message("one"))
    async with asyncio.timeout(20):
        async for recorded in log.tail(subject):
            assert recorded.event.text == "one"
            break


async def nothing_follows(connection):
    answer = await connection.request(f"$JS.API.CONSUMER.NAMES.{STREAM}", b"")
    return not msgspec.json.decode(answer.data)["consumers"]


async def test_a_tail_leaves_no_consumer_behind_whenever_it_is_left(connection, log):
    """Also while its consumer is being made, and when whoever leaves loses patience with it."""
    subject = a_subject()
    await log.append(subject, message("one"))

    async def follow():
        async with closing(log.tail(subject)) as events:
            async for _ in events:
                pass

    for turns in range(60):
        following = asyncio.create_task(follow())
        for _ in range(turns):
            await asyncio.sleep(0.0002)  # any moment will do
        following.cancel()
        await asyncio.sleep(0)
        await end(following)

    await until(lambda: nothing_follows(connection))


async def test_a_tail_leaves_no_consumer_behind_when_its_connection_ends_next(
    own_nats, connection, log
):
    """As at the command line: what it printed is all, and the process ends."""
    subject = a_subject()
    await log.append(subject, message("one"))
    own = await Connection.open(own_nats.url)
    async with closing(JetStreamLog(own).tail(subject)) as events:
        assert (await anext(events)).event.text == "one"
    await own.close()

    await until(lambda: nothing_follows(connection))


async def test_a_bug_in_whoever_takes_messages_does_not_deafen_the_others(connection, log):
    subject = a_subject().replace("evt.", "live.", 1)
    taken = []

    def take(message):
        taken.append(message.data)
        if len(taken) == 1:
            raise ZeroDivisionError

    subscription = await connection.client.listen(subject, take)
    for number in (b"1", b"2"):
        await connection.publish(subject, number)
    await log.append(a_subject(), message())  # its answer comes behind them
    assert taken == [b"1", b"2"]
    await subscription.unsubscribe()
    await connection.publish(subject, b"3")
    await log.append(a_subject(), message())
    assert taken == [b"1", b"2"]


async def test_what_nobody_wants_is_acknowledged_also_when_the_server_was_away(
    own_nats, connection, log
):
    """The answer that was to go out together with others is lost with the connection."""
    subject = a_subject()
    handled = []

    async def handle(delivery):
        handled.append(delivery.recorded.seq)

    consuming = asyncio.create_task(log.consume("picky", [subject], handle, types={"nothing"}))
    await log.append(subject, message())
    await log.append(subject, message())
    await kill(own_nats)
    await own_nats.start()

    async def nothing_is_left():
        with suppress(LogUnavailable):
            return (await lags(connection, STREAM)).get("picky") == 0
        return False

    await until(nothing_is_left, timeout_s=40)
    assert handled == []
    await end(consuming)
