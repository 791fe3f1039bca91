"""One connection to NATS: requests with our errors, one shared inbox, notice of reconnects."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import nats
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError, NoRespondersError

from services.errors import LogFull, LogUnavailable, Permanent
from services.runtime import ids
from services.runtime.jetstream.wire import LeanClient, Message

REQUEST_TIMEOUT_S: Final = 2.0  # one try; an election makes a whole request take several
CONNECT_S: Final = 15.0  # first connection; later ones are tried for ever
BUDGET_S: Final = 12.0  # all tries: a replicated stream may stall about 7 s when its leader dies
PAUSE_S: Final = 0.1  # between tries that fail at once: the log is starting, or we are cut off
FULL: Final = frozenset({10023, 10047, 10077})  # no storage left, or a configured limit reached
PASSING: Final = frozenset({429, 503})  # too much at once, or no leader: it passes
IN_PROCESS: Final = 10158  # an earlier try with this id is not yet stored, and may not become so

OnSilence = Callable[[], Awaitable[None]]

log = structlog.get_logger()


class ApiError(msgspec.Struct, frozen=True):
    """What JetStream says when it refuses."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Reply(msgspec.Struct, frozen=True):
    """The parts of any JetStream answer that we look at."""

    error: ApiError | None = None
    seq: int = 0
    duplicate: bool = False


class NoAnswer(LogUnavailable):
    """A request went out, and nothing came back in time."""


class JetStreamRefused(Permanent):
    """JetStream refused a request."""

    def __init__(self, subject: str, error: ApiError) -> None:
        super().__init__(f"{subject}: {error.description} ({error.err_code})")
        self.error = error


class Connection:
    """A connection that comes back by itself and never gives up."""

    def __init__(self, client: LeanClient) -> None:
        self.client = client
        self.reconnected = asyncio.Condition()
        self._inbox = f"_INBOX.{ids.new()}"
        self._numbers = itertools.count(1)
        self._replies: dict[str, Callable[[Msg], None]] = {}

    @classmethod
    async def open(cls, url: str, *, name: str = "penstock") -> "Connection":
        """Connect to `url`, several comma-separated for a cluster.

        Raises:
            LogUnavailable: nothing answers there, or it refuses the credentials.
        """
        client = LeanClient()
        connection = cls(client)

        async def on_error(error: Exception) -> None:
            log.warning("nats.error", error=repr(error))

        async def on_reconnect() -> None:
            log.info("nats.reconnected")
            async with connection.reconnected:
                connection.reconnected.notify_all()

        try:
            async with asyncio.timeout(CONNECT_S):
                await client.connect(
                    servers=url.split(","),
                    name=name,
                    error_cb=on_error,
                    reconnected_cb=on_reconnect,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.25,  # type: ignore[arg-type]  # any number of seconds
                    connect_timeout=2,
                    ping_interval=5,
                    max_outstanding_pings=2,
                    pending_size=16 * 1024 * 1024,
                )
        except (NatsError, OSError, TimeoutError) as error:
            with suppress(Exception):
                await client.close()
            raise LogUnavailable(f"cannot connect to NATS: {_reason(error)}") from error
        await client.listen(f"{connection._inbox}.*", connection._on_reply)
        return connection

    async def close(self) -> None:
        """Flush what is written and close."""
        with suppress(NatsError, TimeoutError):
            async with asyncio.timeout(1):
                await self.client.flush()
        with suppress(OSError):  # what is still to be written finds nobody to take it
            await self.client.close()

    @property
    def connected(self) -> bool:
        """Tell whether a server is there at this moment."""
        return self.client.is_connected

    def inbox(self, on_message: Callable[[Msg], None]) -> str:
        """Return a new reply subject whose messages go to `on_message` until `forget`."""
        token = str(next(self._numbers))
        self._replies[token] = on_message
        return f"{self._inbox}.{token}"

    def forget(self, inbox: str) -> None:
        """Let go of a reply subject."""
        self._replies.pop(inbox.rpartition(".")[2], None)

    def _on_reply(self, message: Msg) -> None:
        handler = self._replies.get(message.subject.rpartition(".")[2])
        if handler is not None:
            handler(message)

    async def request(
        self, subject: str, body: bytes, headers: dict[str, str] | None = None
    ) -> Msg:
        """Return the first answer; one try.

        Raises:
            NoAnswer: none came in time.
            LogUnavailable: nobody is there to answer.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Msg | None] = loop.create_future()

        def on_answer(message: Msg | None) -> None:
            if not answer.done():
                answer.set_result(message)

        inbox = self.inbox(on_answer)
        timer = loop.call_later(REQUEST_TIMEOUT_S, on_answer, None)
        try:
            await self.client.send(Message(subject, body, headers or {}, inbox))
            message = await answer
        except (NatsError, OSError) as error:
            raise LogUnavailable(f"{subject}: {_reason(error)}") from error
        finally:
            timer.cancel()
            self.forget(inbox)
        if message is None:
            raise NoAnswer(f"{subject}: {_reason(TimeoutError())}")
        if _unheard(message):
            raise LogUnavailable(f"{subject}: {_reason(NoRespondersError())}")
        return message

    async def request_whole(
        self, subject: str, messages: Callable[[str], Sequence[Message]]
    ) -> Msg:
        """Send several messages in one piece, and return the first answer that says something.

        Args:
            subject: Where they go, for people to read.
            messages: What to send, given the subject that answers are wanted at.

        Raises:
            NoAnswer: none came in time.
            LogUnavailable: nobody is there to answer.
        """
        answers: asyncio.Queue[Msg] = asyncio.Queue()
        inbox = self.inbox(answers.put_nowait)
        try:
            await self.client.publish_whole(messages(inbox))
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                answer = await answers.get()
                while not answer.data:
                    if _unheard(answer):
                        raise NoRespondersError
                    answer = await answers.get()
                return answer
        except (NatsError, OSError, TimeoutError) as error:
            family = NoAnswer if isinstance(error, TimeoutError) else LogUnavailable
            raise family(f"{subject}: {_reason(error)}") from error
        finally:
            self.forget(inbox)

    async def ask(
        self,
        subject: str,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        on_silence: OnSilence | None = None,
    ) -> Reply:
        """Return JetStream's answer, asking again through an outage of up to `BUDGET_S`.

        Args:
            subject: What is asked.
            body: With what.
            headers: And with these.
            on_silence: Looks for the cause when a server that is there does not answer; what it
                raises ends the waiting.

        Raises:
            LogUnavailable: no answer within the budget.
            LogFull: no storage left.
            JetStreamRefused: any other refusal.
        """

        async def attempt() -> Msg:
            message = await self.request(subject, body, headers)
            check(subject, message)
            return message

        message = await self.insist(attempt, on_silence=on_silence)
        return msgspec.json.decode(message.data, type=Reply)

    async def insist(
        self,
        attempt: Callable[[], Awaitable[Msg]],
        *,
        on_silence: OnSilence | None = None,
    ) -> Msg:
        """Return what `attempt` returns, repeating it while the log is unavailable.

        Raises:
            LogUnavailable: it still is after `BUDGET_S`.
        """
        deadline = asyncio.get_running_loop().time() + BUDGET_S
        while True:
            try:
                return await attempt()
            except LogUnavailable as error:
                if on_silence is not None and isinstance(error, NoAnswer) and self.connected:
                    await on_silence()
                if asyncio.get_running_loop().time() > deadline:
                    raise
                # What fails at once never waited: without a pause it would keep the whole process
                # from doing anything else.
                await asyncio.sleep(PAUSE_S)

    async def publish(
        self, subject: str, body: bytes = b"", *, reply: str = "", **headers: str
    ) -> None:
        """Send and forget.

        Raises:
            LogUnavailable: the outage lasts and the buffer is full.
        """
        try:
            await self.client.send(Message(subject, body, headers, reply))
        except (NatsError, OSError) as error:
            raise LogUnavailable(f"{subject}: {error!r}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, NoRespondersError):
        return "nobody answers; the log is starting, or does not exist"
    if isinstance(error, TimeoutError):
        return "no answer in time; the log is down, electing a leader or out of disk"
    return repr(error)


def check(subject: str, message: Msg) -> None:
    """Look whether JetStream has done what it was asked.

    Raises:
        LogUnavailable: not now; it may when it is asked again.
        LogFull: no storage left.
        JetStreamRefused: any other refusal.
    """
    error = msgspec.json.decode(message.data, type=Reply).error
    if error is None:
        return
    if is_full(error.err_code, error.description):
        raise LogFull(f"{subject}: {error.description}")
    if error.code in PASSING or error.err_code == IN_PROCESS:
        raise LogUnavailable(f"{subject}: {error.description} ({error.err_code})")
    raise JetStreamRefused(subject, error)


def is_full(code: int, description: str) -> bool:
    """Tell whether JetStream refuses for want of space."""
    return code in FULL or "no space left on device" in description


def _unheard(message: Msg) -> bool:
    """Tell whether the server says that nobody listens where the request went."""
    return not message.data and headers_of(message).get("Status") == "503"


def headers_of(message: Msg) -> dict[str, Any]:
    """Return the message's headers, empty when it has none."""
    return message.headers or {}


__all__ = [
    "ApiError",
    "Connection",
    "JetStreamRefused",
    "Reply",
    "check",
    "headers_of",
    "is_full",
    "nats",
]
