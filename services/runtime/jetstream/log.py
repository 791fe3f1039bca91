"""The event log on JetStream: one file-backed stream, compare-and-append on exact subjects."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from nats.aio.msg import Msg

from schemas.envelope import MAX_EVENT_BYTES, TYPE_HEADER, Envelope, encode
from services.errors import Conflict, LogUnavailable, Permanent
from services.runtime import ids
from services.runtime.cancelling import end
from services.runtime.closing import closing
from services.runtime.consumer import settle
from services.runtime.event_log import EVERYTHING, Append, Delivery, Handler, Recorded
from services.runtime.jetstream.connection import (
    Connection,
    JetStreamRefused,
    Reply,
    check,
    headers_of,
)
from services.runtime.jetstream.pulling import ConsumerLost, Puller
from services.runtime.jetstream.reading import Reader
from services.runtime.jetstream.room import check_room
from services.runtime.jetstream.wire import Message
from services.runtime.recording import record
from services.runtime.telemetry.live import LIVE

STREAM: Final = "EVENTS"
MOVED: Final = frozenset({10071, 10164})  # the subject has moved on; 10164: a write is in flight
ALREADY_IN_BATCH: Final = 10201  # an id of the batch is in the deduplication window
ACK_WAIT_S: Final = 8  # a dead owner's delivery is redelivered after this
DEDUPLICATION_S: Final = 120
UNUSED_S: Final = 60  # a consumer of ours that nobody could delete is gone after this

log = structlog.get_logger()


class EventTooLarge(Permanent):
    """An event is over 64 KiB; its long texts belong into the object store."""


class JetStreamLog:
    """`EventLog` on a connection."""

    def __init__(self, connection: Connection, *, ack_wait_s: float = ACK_WAIT_S) -> None:
        self._connection = connection
        self._ack_wait_s = ack_wait_s
        self._reader = Reader(connection, STREAM)

    @property
    def heartbeat_s(self) -> float:
        """How often a living owner says so: four times before it would count as dead."""
        return self._ack_wait_s / 4

    async def create(self, *, replicas: int = 1) -> None:
        """Make the stream, or bring its replicas up to date; safe from many processes at once.

        Raises:
            LogUnavailable: JetStream does not answer.
            JetStreamRefused: it does not take this configuration.
        """
        config: dict[str, Any] = {
            "name": STREAM,
            "subjects": [EVERYTHING],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "num_replicas": replicas,
            "max_consumers": 5_000,  # without a number the server stops at 1,000
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msg_size": MAX_EVENT_BYTES + 4_096,  # headers count too
            "duplicate_window": DEDUPLICATION_S * 1_000_000_000,
            "deny_delete": True,
            "deny_purge": False,  # erasing a tenant is an administrator's purge
            "allow_direct": True,
            "allow_atomic": True,
        }
        body = msgspec.json.encode(config)
        try:
            await self._connection.ask(f"$JS.API.STREAM.CREATE.{STREAM}", body)
        except JetStreamRefused as refused:
            if refused.error.err_code != 10058:  # the name is in use, with another configuration
                raise
            await self._connection.ask(f"$JS.API.STREAM.UPDATE.{STREAM}", body)

    # -- append ------------------------------------------------------------------------------

    async def append(self, subject: str, envelope: Envelope) -> int:
        """Store an event; see the port."""
        return await self._store(subject, _body(envelope), _headers(envelope))

    async def append_if(self, subject: str, expected: int, envelope: Envelope) -> int:
        """Store an event if the subject has not moved; see the port."""
        try:
            return await self._store(subject, _body(envelope), _headers(envelope, expected))
        except JetStreamRefused as refused:
            if refused.error.err_code not in MOVED:
                raise
            return await self._look(Append(subject, envelope, expected))

    async def _store(self, subject: str, body: bytes, headers: dict[str, str]) -> int:
        with _measured(subject):
            asking = self._connection.ask(subject, body, headers, on_silence=self._check_room)
            return (await asking).seq

    async def _check_room(self) -> None:
        await check_room(self._connection, STREAM)

    async def append_batch(self, appends: Sequence[Append]) -> int:
        """Store all or none; see the port."""
        if len(appends) == 1 and appends[0].expected is None:
            return await self.append(appends[0].subject, appends[0].envelope)
        try:
            with _measured(*(each.subject for each in appends)):
                message = await self._connection.insist(
                    lambda: self._send_batch(appends), on_silence=self._check_room
                )
            return msgspec.json.decode(message.data, type=Reply).seq
        except JetStreamRefused as refused:
            if refused.error.err_code not in MOVED | {ALREADY_IN_BATCH}:
                raise
        last = await self._look(_behind(appends))
        await self._look(appends[0])  # or it was stored without those before it, by somebody else
        return last

    async def _send_batch(self, appends: Sequence[Append]) -> Msg:
        subject = appends[-1].subject
        message = await self._connection.request_whole(
            subject, lambda inbox: _batch(appends, inbox)
        )
        check(subject, message)
        return message

    async def _look(self, wanted: Append) -> int:
        """After a refusal, ask the leader: did an earlier try of ours store it already?"""
        last = 0
        async for recorded in self.read(wanted.subject, after=wanted.expected or 0, fresh=True):
            if recorded.envelope.id == wanted.envelope.id:
                return recorded.seq
            last = recorded.seq
        raise Conflict(wanted.subject, expected=wanted.expected or 0, actual=last or None)

    # -- read --------------------------------------------------------------------------------

    async def read(
        self, pattern: str, *, after: int = 0, until: int | None = None, fresh: bool = False
    ) -> AsyncIterator[Recorded]:
        """Yield events in order; see the port."""
        messages = self._reader.messages(pattern, after=after, until=until, fresh=fresh)
        async for seq, subject, body in messages:
            yield record(seq, subject, body)

    async def last(self, pattern: str, *, fresh: bool = False) -> Recorded | None:
        """Return the newest event; see the port."""
        return await self._reader.last(pattern, fresh=fresh)

    async def tail(self, pattern: str, *, after: int = 0) -> AsyncIterator[Recorded]:
        """Yield events and wait for more; see the port."""
        while True:
            try:
                async with closing(self._follow(pattern, after)) as events:
                    async for recorded in events:
                        after = recorded.seq
                        yield recorded
            except LogUnavailable as error:
                log.info("tail.restarted", pattern=pattern, after=after, reason=str(error))
                await asyncio.sleep(0.2)

    async def _follow(self, pattern: str, after: int) -> AsyncIterator[Recorded]:
        """Yield events behind `after` from a consumer of our own, until it breaks."""
        first = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
        async with self._consumer_of_ours(first | {"filter_subject": pattern}) as name:
            puller = Puller(self._connection, STREAM, name, room=1_000)
            pulling = puller.start(puller.run())
            expected = 1
            try:
                while True:
                    message = await puller.messages.get()
                    if not isinstance(message, Msg):
                        raise message or ConsumerLost
                    delivered = _delivered(message)
                    if delivered.consumer_seq != expected:  # something was lost on the way
                        raise ConsumerLost(
                            f"delivery {delivered.consumer_seq}, expected {expected}"
                        )
                    expected += 1
                    yield record(delivered.seq, message.subject, message.data)
                    puller.done()
            finally:
                await end(pulling)

    @asynccontextmanager
    async def _consumer_of_ours(self, config: dict[str, Any]) -> AsyncIterator[str]:
        """Lend a consumer that is deleted behind us, also where we left while it was made."""
        name = f"tail-{ids.new()}"
        kept = {"ack_policy": "none", "mem_storage": True, "num_replicas": 1}
        unused = {"inactive_threshold": UNUSED_S * 1_000_000_000}
        making = asyncio.create_task(self._create_consumer(name, {**config, **kept, **unused}))
        try:
            await asyncio.shield(making)
            yield name
        finally:  # the server may do a second thing before the first: never ask before it answers
            if making.done():  # now, for the connection may be closed next
                self._delete_consumer(name, making)
            else:
                making.add_done_callback(partial(self._delete_consumer, name))

    def _delete_consumer(self, name: str, making: asyncio.Future[None]) -> None:
        if making.cancelled() or making.exception():
            return
        subject = f"$JS.API.CONSUMER.DELETE.{STREAM}.{name}"
        self._connection.client.send_late(Message(subject, b"", {}))

    # -- consume -----------------------------------------------------------------------------

    async def consume(
        self,
        durable: str,
        patterns: Collection[str],
        handle: Handler,
        *,
        types: Collection[str] | None = None,
        concurrency: int = 64,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Hand every event to `handle` at least once; see the port."""
        consumption = _Consumption(self, durable, handle)
        while not (stop and stop.is_set()):
            try:
                await self._create_consumer(
                    durable,
                    {
                        "durable_name": durable,
                        "deliver_policy": "all",
                        "ack_policy": "explicit",
                        "ack_wait": round(self._ack_wait_s * 1_000_000_000),
                        "max_deliver": -1,
                        "max_ack_pending": 20_000,
                        "max_waiting": 512,
                        "filter_subjects": list(patterns),
                    },
                )
                skip = None if types is None else _all_but(frozenset(types))
                puller = Puller(self._connection, STREAM, durable, room=concurrency, skip=skip)
                await consumption.run(puller, stop)
            except LogUnavailable as error:
                log.warning("consumer.restarted", durable=durable, reason=str(error))
                await asyncio.sleep(0.2)

    async def _create_consumer(self, name: str, config: dict[str, Any]) -> None:
        request = {"stream_name": STREAM, "config": {"name": name, **config}}
        await self._connection.ask(
            f"$JS.API.CONSUMER.CREATE.{STREAM}.{name}", msgspec.json.encode(request)
        )

    async def hand_over(self, message: Msg, answer: str) -> None:
        """Answer a delivery; an answer that is lost only means that it comes again."""
        with suppress(LogUnavailable):
            await self._connection.publish(message.reply, answer.encode())


def _measured(*subjects: str) -> AbstractContextManager[None]:
    """Return what measures an append, where somebody asked for it."""
    return nullcontext() if LIVE.recorder is None else LIVE.recorder.sending(*subjects)


class _Consumption:
    """The deliveries of one durable that are in this process's hands."""

    def __init__(self, event_log: JetStreamLog, durable: str, handle: Handler) -> None:
        self._log = event_log
        self._durable = durable
        self._handle = handle
        self._held: dict[asyncio.Task[None], Msg] = {}

    async def run(self, puller: Puller, stop: asyncio.Event | None) -> None:
        """Hand on what the puller brings; on cancellation give everything back."""
        pulling = puller.start(puller.run())
        beating = puller.start(self._beat())
        stopping = puller.start(_end_on(stop, puller))
        try:
            while (message := await puller.messages.get()) is not None:
                if isinstance(message, ConsumerLost):
                    raise message
                self._take(puller, message)
            await end(pulling)
            await asyncio.gather(*self._held)
        finally:
            await end(pulling)  # first: what is handed back must not come to us again
            await end(beating, stopping, *self._held)
            while not puller.messages.empty():
                left = puller.messages.get_nowait()
                if isinstance(left, Msg):
                    await self._log.hand_over(left, "-NAK")

    def _take(self, puller: Puller, message: Msg) -> None:
        task = asyncio.create_task(self._deliver(message))
        self._held[task] = message

        def on_done(task: asyncio.Task[None]) -> None:
            self._held.pop(task, None)
            puller.done()

        task.add_done_callback(on_done)

    async def _deliver(self, message: Msg) -> None:
        delivered = _delivered(message)
        recorded = record(delivered.seq, message.subject, message.data)
        answer = "-NAK"  # handed back at once when we are cancelled
        try:
            delivery = Delivery(recorded, delivered.attempt)
            verdict = await settle(self._log, self._durable, delivery, self._handle)
            if verdict.action == "ack":
                answer = "+ACK"
            elif verdict.action == "drop":
                answer = ""
            elif verdict.delay_s > 0:
                answer = f'-NAK {{"delay": {int(verdict.delay_s * 1_000_000_000)}}}'
        finally:
            if answer:
                await self._log.hand_over(message, answer)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._log.heartbeat_s)
            for message in list(self._held.values()):
                await self._log.hand_over(message, "+WPI")


def _all_but(types: Collection[str]) -> Callable[[Msg], bool]:
    def skip(message: Msg) -> bool:
        return headers_of(message).get(TYPE_HEADER) not in types

    return skip


async def _end_on(stop: asyncio.Event | None, puller: Puller) -> None:
    """Put the end behind what the puller has brought, once we are asked to stop."""
    if stop is not None:
        await stop.wait()
        puller.messages.put_nowait(None)


class _Delivered(msgspec.Struct, frozen=True):
    """What an acknowledgement subject tells."""

    attempt: int
    seq: int
    consumer_seq: int


def _delivered(message: Msg) -> _Delivered:
    """Parse from the right, which is the same in both forms of the subject."""
    _, attempt, seq, consumer_seq, _, _ = message.reply.rsplit(".", 5)
    return _Delivered(int(attempt), int(seq), int(consumer_seq))


def _headers(envelope: Envelope, expected: int | None = None) -> dict[str, str]:
    headers = {"Nats-Msg-Id": f"evt:{envelope.id}", TYPE_HEADER: envelope.type}
    if expected is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
    if envelope.traceparent is not None:
        headers["traceparent"] = envelope.traceparent
    return headers


def _batch(appends: Sequence[Append], inbox: str) -> list[Message]:
    """Return the messages of an atomic batch; its first and its last are answered."""
    batch, size = ids.new(), len(appends)
    messages = []
    for place, append in enumerate(appends, start=1):
        headers = _headers(append.envelope, append.expected)
        headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(place)}
        if place == size:
            headers["Nats-Batch-Commit"] = "1"
        reply = inbox if place in {1, size} else ""
        messages.append(Message(append.subject, _body(append.envelope), headers, reply))
    return messages


def _behind(appends: Sequence[Append]) -> Append:
    """Return the last of a batch, to be looked for no further back than its subject was then."""
    last = appends[-1]
    expected = (each.expected for each in appends if each.subject == last.subject)
    return replace(last, expected=next((seq for seq in expected if seq is not None), None))


def _body(envelope: Envelope) -> bytes:
    body = encode(envelope)
    if len(body) > MAX_EVENT_BYTES:
        raise EventTooLarge(f"{envelope.type} has {len(body)} bytes")
    return body
