"""What nats-py does too slowly: a message's publishing takes it longer than storing it takes."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from nats.aio.client import Client
from nats.errors import BadSubjectError, ConnectionClosedError

_LINE_ENDS: Final = str.maketrans({"\r": " ", "\n": " "})  # they would begin another header


class Message(NamedTuple):
    """One message to publish."""

    subject: str
    body: bytes
    headers: dict[str, str]
    reply: str = ""


class LeanClient(Client):
    """nats-py's client; it reads headers several times faster, and writes many messages at once."""

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        headers = {}
        for line in raw.decode(errors="replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name] = value.strip()
        return headers

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
        self.stats["out_msgs"] += len(messages)
        self.stats["out_bytes"] += sum(len(message.body) for message in messages)
        await self._send_command(whole)
        await self._flush_pending()


def encode(message: Message) -> bytes:
    """Return the command that publishes a message.

    Raises:
        BadSubjectError: its subject is empty or has a space in it.
    """
    if message.subject.split() != [message.subject]:
        raise BadSubjectError
    lines = (f"{name}: {_value(value)}" for name, value in message.headers.items())
    headers = "\r\n".join(("NATS/1.0", *lines, "\r\n")).encode()
    command = f"HPUB {message.subject} {message.reply} {len(headers)} "
    size = len(headers) + len(message.body)
    return b"%b%d\r\n%b%b\r\n" % (command.encode(), size, headers, message.body)


def _value(value: str) -> str:
    stripped = value.strip()
    return stripped if stripped.isprintable() else stripped.translate(_LINE_ENDS)
