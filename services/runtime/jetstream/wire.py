"""What nats-py does too slowly: a message's publishing takes it longer than storing it takes."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    BadSubjectError,
    ConnectionClosedError,
    MaxPayloadError,
    OutboundBufferLimitError,
)

Take = Callable[[Msg], None]

LATE_S: Final = 0.05  # how long what nobody waits for may wait for company
_PLAIN: Final = b"NATS/1.0\r\n"  # what headers begin with where no status is among them

_LINE_ENDS: Final = str.maketrans({"\r": " ", "\n": " "})  # they would begin another header


class Message(NamedTuple):
    """One message to publish."""

    subject: str
    body: bytes
    headers: dict[str, str]
    reply: str = ""


class LeanClient(Client):
    """nats-py's client, with a short way in and out for what comes and goes all the time.

    Of each event that a conversation makes most of our consumers want nothing but to say so: a
    queue and a task for every message would cost more than all else that is done with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Take] = {}  # by number of their subscription
        self._late: list[Message] = []

    # -- in ----------------------------------------------------------------------------------

    async def listen(self, subject: str, take: Take) -> Subscription:
        """Subscribe: each message goes to `take` as it is read; `take` must not be slow."""
        subscription = await self.subscribe(subject)
        self._takers[subscription._id] = take  # noqa: SLF001 - it has no other name
        return subscription

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._takers.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        take = self._takers.get(sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        found: dict[str, str] | None
        if headers and headers.startswith(_PLAIN):
            found = self._parse_header_lines(headers[len(_PLAIN) :])
        else:
            found = await self._process_headers(headers)
        try:
            take(Msg(self, subject.decode(), reply.decode(), data, found, _sid=sid))
        except Exception as error:  # noqa: BLE001 - else nobody would read any more
            await self._error_cb(error)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        headers = {}
        for line in raw.decode(errors="replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name] = value.strip()
        return headers

    # -- out ---------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Publish a message; while no server is there it is kept for the next connection.

        Raises:
            BadSubjectError: a subject is empty or has a space in it.
            ConnectionClosedError: there is not going to be another connection.
            MaxPayloadError: the server does not take as much.
            OutboundBufferLimitError: no server is there, and no more can be kept.
        """
        command, size = encode(message), len(message.body)
        if self.is_closed:
            raise ConnectionClosedError
        if (
            not self.is_connected
            and len(command) + self._pending_data_size > self._max_pending_size
        ):
            raise OutboundBufferLimitError
        if size > self._max_payload:
            raise MaxPayloadError
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += size
        await self._send_command(command)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    def send_late(self, message: Message) -> None:
        """Publish within `LATE_S`, together with others; lost where no server is there then."""
        self._late.append(message)
        if len(self._late) == 1:
            asyncio.get_running_loop().call_later(LATE_S, self._send_what_is_late)

    async def flush(self, timeout: int = 10) -> None:  # noqa: ASYNC109 - nats-py's signature
        """Send everything, also what is late, and wait until the server has read it.

        Raises:
            TimeoutError: it has not within `timeout` seconds.
            ConnectionClosedError: there is no connection.
        """
        self._send_what_is_late()
        await super().flush(timeout)

    def _send_what_is_late(self) -> None:
        late, self._late = self._late, []
        if not late or not self.is_connected or self._flush_queue is None:
            return
        self._count(late)
        whole = b"".join(map(encode, late))
        self._pending.append(whole)
        self._pending_data_size += len(whole)
        if self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    def _count(self, messages: Sequence[Message]) -> None:
        self.stats["out_msgs"] += len(messages)
        self.stats["out_bytes"] += sum(len(message.body) for message in messages)

    async def publish_whole(self, messages: Sequence[Message]) -> None:
        """Publish several messages with one write, on this connection or not at all.

        Nothing is kept for a later connection: a part of them would be of no use there.

        Raises:
            ConnectionClosedError: there is none at this moment.
            BadSubjectError: a subject is empty or has a space in it.
        """
        if not self.is_connected:
            raise ConnectionClosedError
        whole = b"".join(map(encode, messages))
        self._count(messages)
        await self._send_command(whole)
        await self._flush_pending()


def encode(message: Message) -> bytes:
    """Return the command that publishes a message.

    Raises:
        BadSubjectError: its subject is empty or has a space in it.
    """
    if message.subject.split() != [message.subject]:
        raise BadSubjectError
    if not message.headers:
        command = f"PUB {message.subject} {message.reply} {len(message.body)}\r\n"
        return b"%b%b\r\n" % (command.encode(), message.body)
    lines = (f"{name}: {_value(value)}" for name, value in message.headers.items())
    headers = "\r\n".join(("NATS/1.0", *lines, "\r\n")).encode()
    command = f"HPUB {message.subject} {message.reply} {len(headers)} "
    size = len(headers) + len(message.body)
    return b"%b%d\r\n%b%b\r\n" % (command.encode(), size, headers, message.body)


def _value(value: str) -> str:
    stripped = value.strip()
    return stripped if stripped.isprintable() else stripped.translate(_LINE_ENDS)
