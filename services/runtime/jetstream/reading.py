"""Read the stream by batched direct gets, and its end from the leader."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec
from nats.aio.msg import Msg

from services.errors import LogUnavailable
from services.runtime.cancelling import end
from services.runtime.event_log import Recorded
from services.runtime.jetstream.connection import BUDGET_S, Connection, headers_of
from services.runtime.recording import record

BATCH: Final = 500  # messages a request
SILENCE_S: Final = 2.0  # a batch that pauses this long is asked for again


class StoredMessage(msgspec.Struct, frozen=True):
    """A message as the leader returns it."""

    subject: str
    seq: int
    time: datetime
    """When it was stored, by the server's clock."""
    data: str = ""

    def recorded(self) -> Recorded:
        """Return it as an event."""
        return record(self.seq, self.subject, base64.b64decode(self.data))


class StoredAnswer(msgspec.Struct, frozen=True):
    """The leader's answer to `MSG.GET`."""

    message: StoredMessage | None = None


@dataclass(slots=True)
class Page:
    """Messages in order, and whether the replica that served them has more."""

    messages: list[Msg] = field(default_factory=list)
    complete: bool = False


class Reader:
    """Reads one stream."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._direct = f"$JS.API.DIRECT.GET.{stream}"
        self._leader = f"$JS.API.STREAM.MSG.GET.{stream}"

    async def messages(
        self, pattern: str, *, after: int, until: int | None, fresh: bool
    ) -> AsyncIterator[tuple[int, str, bytes]]:
        """Yield `(sequence, subject, body)` in order; the arguments are those of the port."""
        page = asyncio.create_task(self._page(pattern, after, until))
        try:
            while True:
                now = await page
                is_last = now.complete or not now.messages
                if not is_last:
                    last = int(headers_of(now.messages[-1])["Nats-Sequence"])
                    is_last = until is not None and last >= until
                    if not is_last:
                        page = asyncio.create_task(self._page(pattern, last, until))
                for message in now.messages:
                    headers = headers_of(message)
                    seq = int(headers["Nats-Sequence"])
                    if until is not None and seq > until:
                        return
                    after = seq
                    yield seq, headers["Nats-Subject"], message.data
                if is_last:
                    break
        finally:
            await end(page)
        if not fresh and (until is None or after >= until):
            return
        while until is None or after < until:
            found = await self.from_leader({"seq": after + 1, "next_by_subj": pattern})
            if found is None or (until is not None and found.seq > until):
                return
            after = found.seq
            yield found.seq, found.subject, base64.b64decode(found.data)

    async def last(self, pattern: str, *, fresh: bool) -> Recorded | None:
        """Return the newest event of the pattern."""
        wanted: dict[str, str | int] = {"last_by_subj": pattern}
        if fresh:
            found = await self.from_leader(wanted)
            return found.recorded() if found else None
        message = await self._connection.insist(
            lambda: self._connection.request(self._direct, msgspec.json.encode(wanted))
        )
        headers = headers_of(message)
        if "Nats-Sequence" not in headers:
            return None
        return record(int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data)

    async def from_leader(self, wanted: dict[str, str | int]) -> StoredMessage | None:
        """Return the message that a request of `MSG.GET` asks for, or None."""
        body = msgspec.json.encode(wanted)

        async def attempt() -> Msg:
            message = await self._connection.request(self._leader, body)
            if b'"code":503' in message.data:
                raise LogUnavailable("the stream has no leader")
            return message

        message = await self._connection.insist(attempt)
        return msgspec.json.decode(message.data, type=StoredAnswer).message

    async def _page(self, pattern: str, after: int, until: int | None) -> Page:
        """Return the next messages behind `after`, asking again through an outage.

        No more than there can be up to `until`: of a long stream, one event is often wanted.
        """
        most = BATCH if until is None else max(1, min(BATCH, until - after))
        deadline = asyncio.get_running_loop().time() + BUDGET_S
        while True:
            try:
                return await self._try_page(pattern, after, most)
            except LogUnavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def _try_page(self, pattern: str, after: int, most: int) -> Page:
        queue: asyncio.Queue[Msg] = asyncio.Queue()
        inbox = self._connection.inbox(queue.put_nowait)
        wanted = {"seq": after + 1, "next_by_subj": pattern, "batch": most}
        page = Page()
        try:
            await self._connection.publish(self._direct, msgspec.json.encode(wanted), reply=inbox)
            while True:
                if queue.empty():
                    async with asyncio.timeout(SILENCE_S):
                        message = await queue.get()
                else:  # a timer for each of many messages would take as long as reading them
                    message = queue.get_nowait()
                headers = headers_of(message)
                if "Nats-Sequence" in headers:
                    page.messages.append(message)
                    continue
                match headers.get("Status"):
                    case "204":  # end of batch
                        page.complete = int(headers.get("Nats-Num-Pending", 0)) == 0
                        return page
                    case "404":  # nothing there
                        page.complete = True
                        return page
                    case status:
                        raise LogUnavailable(f"direct get answered {status}")
        except TimeoutError as error:
            raise LogUnavailable("direct get did not answer") from error
        finally:
            self._connection.forget(inbox)
