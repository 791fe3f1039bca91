"""A conversation followed as it happens: nothing missed, nothing twice, nothing left behind."""

import asyncio
import random
import time

import msgspec
import pytest

from schemas.base import RunId
from schemas.channel import ReplySent, TurnCompleted, TurnStarted
from schemas.run import ModelCalled, StatusSet
from services.api.feed import feed
from services.api.routes import stream as stream_route
from services.runtime.live import TextDelta, deltas
from tests.support.portal import portal_maker, shared_portal  # noqa: F401 - found by name
from tests.support.servers import until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

SHA = "ab" * 32


async def test_a_message_and_what_came_of_it_in_order(portal):
    heard = await portal.settled("order", "hello")
    names = [event.name for event in heard if event.name != "delta"]
    assert names == ["message", "turn_started", "reply", "turn_completed", "settled"]
    ids = [event.id for event in heard if event.id is not None]
    assert ids == sorted(set(ids))
    assert [event.data["seq"] for event in heard if event.id is not None] == ids
    assert heard[-1].data["seq"] == (await portal.state("order"))["seq"]


async def test_deltas_and_notices_have_no_id(portal):
    async with portal.stream("bare") as stream:
        notice = await stream.until("settled")
        assert (notice.id, notice.data) == (None, {"seq": 0})


async def test_who_comes_back_misses_nothing_and_hears_nothing_twice(portal):
    for text in ("hello", "help", "remember that the sky is blue"):
        await portal.settled("resumed", text)

    async def read(after, by_header):
        how = {"last_event_id": str(after)} if by_header else {"after": after}
        async with portal.stream("resumed", **how) as stream:
            await stream.until("settled")
        return [(event.id, event.name) for event in stream.heard if event.id is not None]

    everything = await read(0, by_header=False)
    assert len(everything) >= 12
    for number, (id_, _) in enumerate(everything, start=1):
        assert await read(id_, by_header=number % 2 == 0) == everything[number:]


async def test_the_header_goes_before_the_query_of_the_first_connection(portal):
    await portal.settled("header", "hello")
    end = (await portal.state("header"))["seq"]
    async with portal.stream("header", after=0, last_event_id=str(end)) as stream:
        await stream.until("settled")
        assert stream.names == ["settled"]


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", ""])
async def test_a_wrong_position_is_refused(portal, wrong):
    path = f"{portal.place('header')}/stream"
    assert (await portal.http.get(path, params={"after": wrong})).status_code == 422
    if wrong:
        headers = {"last-event-id": wrong}
        assert (await portal.http.get(path, headers=headers)).status_code == 422


async def test_a_position_of_another_log_begins_anew(portal):
    """The data directory was deleted while a page was open."""
    await portal.settled("anew", "hello")
    async with portal.stream("anew", last_event_id="9007199254740991") as stream:
        await stream.until("settled")
        assert stream.names[:3] == ["restarted", "message", "turn_started"]


async def test_two_readers_hear_the_same(portal):
    async with portal.stream("two") as one, portal.stream("two") as other:
        await asyncio.gather(one.until("settled"), other.until("settled"))
        await portal.say("two", "hello")
        await asyncio.gather(one.until("settled"), other.until("settled"))
        first, second = (
            [event.id for event in stream.heard if event.id] for stream in (one, other)
        )
        assert first == second


async def test_readers_hear_of_their_own_conversation_alone(portal):
    async with portal.stream("mine") as stream:
        await stream.until("settled")
        await portal.settled("yours", "hello")
        await portal.say("mine", "hello, it is me")
        assert (await stream.until("message")).data["text"] == "hello, it is me"
        assert stream.names == ["settled", "message"]


async def test_a_reply_is_seen_while_it_is_written_and_not_after(portal):
    subject = portal.subject("written")
    turn = RunId("t-1")

    async def write(text, **how):
        delta = msgspec.json.encode(TextDelta(turn=turn, text=text, **how))
        await portal.process.live.publish(deltas(subject), delta)

    async with portal.stream("written") as stream:
        await stream.until("settled")
        await portal.append(subject, TurnStarted(turn_id=turn, owner="test"))
        await stream.until("turn_started")

        async def heard():
            await write("He")
            return "delta" in stream.names

        listening = asyncio.create_task(until(heard))
        assert (await stream.until("delta")).data == {"turn": "t-1", "text": "He"}
        await listening
        await write("Hello", reset=True)
        assert (await stream.until("delta", reset=True)).data["text"] == "Hello"
        await portal.append(subject, ReplySent(turn_id=turn, text="Hello, Ana"))
        await stream.until("reply")
        await write("too late")
        await portal.append(subject, TurnCompleted(turn_id=turn, handled=()))
        await stream.until("settled")
        assert "too late" not in [event.data.get("text") for event in stream.heard]


async def test_steps_that_nobody_is_told_of_are_not_sent(portal):
    subject = portal.subject("steps")
    for step in range(1, 20):
        called = ModelCalled(
            run_id=RunId("w-1"), step=step, model="x/y", prompt=SHA, tools=SHA, request=SHA
        )
        await portal.append(subject.of("worker", "w-1"), called)
    await portal.append(subject.of("worker", "w-1"), StatusSet(run_id=RunId("w-1"), status="on"))
    async with portal.stream("steps", after=0) as stream:
        await stream.until("status_set")
        assert set(stream.names) <= {"settled", "status_set"}


async def test_a_worker_that_works_is_no_rest(portal):
    receipt = (await portal.say("restless", "run: sleep 1; echo done")).json()
    async with portal.stream("restless", after=receipt["seq"] - 1) as stream:
        settled = await stream.until("settled")
        names = stream.names
        assert names.index("worker_concluded") < names.index("settled")
        assert names.count("reply") == 2
        assert settled.data["seq"] == (await portal.state("restless"))["seq"]


async def test_silence_has_a_heartbeat(portal, monkeypatch):
    monkeypatch.setattr(feed, "HEARTBEAT_S", 0.05)
    async with portal.stream("silent") as stream:
        await stream.until("settled")

        async def listen():
            async for _ in stream.events():
                pass

        listening = asyncio.create_task(listen())

        async def beaten():
            return stream.comments >= 3

        await until(beaten)
        listening.cancel()


async def test_5000_events_are_there_in_seconds(portal):
    subject = portal.subject("history")
    numbers = range(5_000)
    for start in range(0, 5_000, 250):
        await asyncio.gather(
            *(
                portal.append(subject, ReplySent(turn_id=RunId("t"), text=f"line {number} " * 5))
                for number in numbers[start : start + 250]
            )
        )
    async with portal.stream("history", after=0) as stream:
        await stream.until("settled")
    ids = [event.id for event in stream.heard if event.id is not None]
    assert len(ids) == 5_000
    assert ids == sorted(set(ids))


# -- leaving -----------------------------------------------------------------------------------


async def held(portal):
    """Return how many tasks, subscriptions and consumers of the log there are for streams."""
    connection = portal.process.connection
    answer = await connection.request("$JS.API.CONSUMER.NAMES.EVENTS", b"")
    consumers = msgspec.json.decode(answer.data)["consumers"] or ()
    tails = [name for name in consumers if name.startswith("tail-")]
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    work = [getattr(each, "__qualname__", "").partition(".")[0] for each in coroutines]
    tasks = [name for name in work if name in {"Feed", "EventStream", "Puller", "_until_gone"}]
    return len(tasks), len(connection.client._subs), len(tails)


async def test_who_leaves_leaves_nothing_behind(portal):
    await portal.settled("leaving", "hello")
    await portal.projected()

    async def only_services_follow():
        return (await held(portal))[2] == 2  # the projector and the scheduler

    await until(only_services_follow)
    before = await held(portal)

    async def visit(number):
        """Leave at once, in the middle of the past, or after having waited."""
        async with portal.stream("leaving", after=0) as stream:
            if number % 3 == 1:
                await stream.until("message")
            elif number % 3 == 2:
                await stream.until("settled")
            await asyncio.sleep(random.random() / 20)  # noqa: S311 - any moment is as good

    await asyncio.gather(*(visit(number) for number in range(60)))

    async def as_before():
        now = await held(portal)
        return all(some <= others for some, others in zip(now, before, strict=True))

    await until(as_before, timeout_s=20)
    text = (await portal.http.get("/metrics")).text
    assert "penstock_http_streams 0.0" in text


async def test_a_reader_who_does_not_read_holds_nobody_up(portal):
    """Its stream waits; the log, other readers and the process go on."""
    subject = portal.subject("stuck")
    text = "x" * 10_000
    async with portal.stream("stuck", after=0) as stuck:
        for start in range(0, 2_000, 100):
            await asyncio.gather(
                *(
                    portal.append(subject, ReplySent(turn_id=RunId("t"), text=f"{number} {text}"))
                    for number in range(start, start + 100)
                )
            )
        heard = await portal.settled("unstuck", "hello")
        assert heard[-1].name == "settled"
        async with portal.stream("stuck", after=0) as other:
            end = (await other.until("settled")).data["seq"]
            assert other.names.count("reply") == 2_000
        await stuck.until("settled", seq=end)
        last = 0
        for event in stuck.heard:  # a notice is behind everything that it is about
            last = event.id or last
            assert event.name != "settled" or event.data["seq"] == last


async def test_200_open_pages(portal):
    async with asyncio.TaskGroup() as pages:
        opened = asyncio.Semaphore(0)

        async def page(number):
            async with portal.stream(f"page-{number % 20}") as stream:
                await stream.until("settled")
                opened.release()
                await stream.until("reply", timeout_s=60)

        for number in range(200):
            pages.create_task(page(number))
        for _ in range(200):
            await opened.acquire()
        for number in range(20):
            await portal.say(f"page-{number}", "hello")


async def test_more_streams_than_we_can_serve_are_refused_for_now(new_portal, monkeypatch):
    portal = await new_portal()
    monkeypatch.setattr(stream_route, "MOST_STREAMS", 1)
    async with portal.stream("first"):
        response = await portal.http.get(f"{portal.place('second')}/stream")
        assert response.status_code == 503
        assert "retry-after" in response.headers


async def test_a_stream_ends_when_the_process_stops(new_portal):
    portal = await new_portal()
    async with portal.stream("c") as stream:
        await stream.until("settled")
        started = time.perf_counter()
        portal.process.stopping.set()
        async for _ in stream.events():
            pass
        assert stream.ended
        await asyncio.wait_for(portal.running, 8)
        assert time.perf_counter() - started < 3
