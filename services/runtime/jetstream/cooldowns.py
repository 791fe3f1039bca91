"""Which models are resting, told to all processes through a JetStream key-value bucket.

A rest is put into the bucket and heard by everybody on the subject that it is put on; whoever comes
later, or comes back, reads what the bucket has. So asking costs nothing, and telling one write that
nobody waits for. Without NATS each process goes by what it has met or heard itself.

Machines need not agree about the time: a rest says how long it is, and how old it is by the time
that it is read is told by the server, whose clock stamped it.
"""

import base64
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.errors import LogUnavailable, ServiceError
from services.runtime.clock import Clock
from services.runtime.jetstream.connection import Connection, JetStreamRefused
from services.runtime.jetstream.reading import Reader
from services.runtime.jetstream.replicas import keep
from services.runtime.router import ProcessCooldowns

BUCKET: Final = "cooldowns"
STREAM: Final = f"KV_{BUCKET}"
KEYS: Final = f"$KV.{BUCKET}"
LONGEST_S: Final = 86_400  # providers count by the minute, some by the day
RETRY_S: Final = 30.0  # between attempts at a bucket that cannot be made or read
IN_USE: Final = 10058  # the bucket is there, made by a version with another configuration

log = structlog.get_logger()


class Rest(msgspec.Struct, frozen=True):
    """One model's rest, from the moment at which it was stored."""

    model: str
    seconds: float


class _Info(msgspec.Struct, frozen=True):
    """What we need to know of the bucket."""

    ts: datetime
    """Now, by the clock that stamps what is stored."""


class SharedCooldowns:
    """`Cooldowns` of all processes on one NATS."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._known = ProcessCooldowns(clock)
        self._reader = Reader(connection, STREAM)

    async def cool(self, model: str, seconds: float) -> None:
        """Let `model` rest here at once, and everywhere else as soon as they hear of it."""
        if self._known.left(model) >= seconds:
            return
        await self._known.cool(model, seconds)
        if not self._connection.connected:
            return  # told late it would begin anew then
        try:
            await self._connection.publish(
                _subject(model), msgspec.json.encode(Rest(model, seconds))
            )
        except ServiceError as error:
            log.info("cooldown.untold", model=model, reason=str(error))

    async def is_cooling(self, model: str) -> bool:
        """Return whether `model` is resting, as far as this process knows; asks nobody."""
        return await self._known.is_cooling(model)

    async def follow(self, *, replicas: int = 1) -> None:
        """Hear of the rests that other processes tell, until cancelled."""
        subscription = await self._connection.client.subscribe(f"{KEYS}.>", cb=self._on_message)
        try:
            while True:
                connections = self._connections
                try:
                    await self._create(replicas)
                    await self._read()
                except ServiceError as error:
                    log.info("cooldowns.unread", reason=str(error))
                    await self._clock.sleep(RETRY_S)
                else:
                    await self._other_than(connections)  # what was told meanwhile went unheard
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    @property
    def _connections(self) -> int:
        return self._connection.client.stats["reconnects"]

    async def _other_than(self, connections: int) -> None:
        async with self._connection.reconnected:
            await self._connection.reconnected.wait_for(lambda: self._connections != connections)

    async def _create(self, replicas: int) -> None:
        """Make the bucket, or bring its replicas up to date; safe from many processes at once."""
        config: dict[str, Any] = {
            "name": STREAM,
            "subjects": [f"{KEYS}.>"],
            "storage": "file",
            "num_replicas": replicas,
            "max_msgs_per_subject": 1,
            "max_age": LONGEST_S * 1_000_000_000,
            "discard": "new",
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
        }
        try:
            await self._connection.ask(
                f"$JS.API.STREAM.CREATE.{STREAM}", msgspec.json.encode(config)
            )
        except JetStreamRefused as refused:
            if refused.error.err_code != IN_USE:
                raise
            await keep(self._connection, STREAM, replicas)

    async def _read(self) -> None:
        """Take in every rest in the bucket, each for as long as it has left."""
        now = await self._now()
        seq = 0
        while stored := await self._reader.from_leader(
            {"seq": seq + 1, "next_by_subj": f"{KEYS}.>"}
        ):
            seq = stored.seq
            age_s = (now - stored.time).total_seconds()
            await self._take(base64.b64decode(stored.data), max(age_s, 0.0))

    async def _now(self) -> datetime:
        """Return the time by the clock that stamps what is stored."""
        subject = f"$JS.API.STREAM.INFO.{STREAM}"
        answer = await self._connection.insist(lambda: self._connection.request(subject, b""))
        try:
            return msgspec.json.decode(answer.data, type=_Info).ts
        except msgspec.DecodeError as error:
            raise LogUnavailable(f"{subject}: {error}") from error

    async def _on_message(self, message: Msg) -> None:
        await self._take(message.data, 0.0)

    async def _take(self, body: bytes, age_s: float) -> None:
        try:
            rest = msgspec.json.decode(body, type=Rest)
        except msgspec.DecodeError as error:  # of another version
            log.info("cooldown.unreadable", reason=str(error))
            return
        left = min(rest.seconds, LONGEST_S) - age_s
        if left > 0:
            await self._known.cool(rest.model, left)


def _subject(model: str) -> str:
    """Return where the rest of `model` is told; its name may have any characters."""
    return f"{KEYS}.{base64.urlsafe_b64encode(model.encode()).decode()}"
