"""A lean client of OpenAI-compatible servers, which LiteLLM uses in place of the OpenAI SDK's.

Why: the SDK walks each message and each chunk through typed models, which costs 25 ms of processor
time for a call that takes this client half a millisecond. LiteLLM still decides what is sent;
of a client it uses nothing but `chat.completions.with_raw_response.create`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from services.runtime.model_faults import ProviderFault

CONNECT_S: Final = 10.0  # name, handshake and TLS; slower is unreachable
KEEPALIVE_S: Final = 75.0  # as long as providers keep an idle connection
TAIL_S: Final = 0.05  # wait for the end of the body after its last event, to reuse the connection
ERROR_BYTES: Final = 64_000  # of an error's body that are looked at
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class FunctionPiece(msgspec.Struct):
    """More of a call's name or arguments."""

    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct):
    """More of one tool call."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece = msgspec.field(default_factory=FunctionPiece)


class Piece(msgspec.Struct):
    """More of the answer."""

    content: str | None = None
    tool_calls: list[CallPiece] | None = None


class Choice(msgspec.Struct):
    """More of the only choice that we ask for."""

    delta: Piece = msgspec.field(default_factory=Piece)
    finish_reason: str | None = None


class CachedTokens(msgspec.Struct):
    """Detail of `PromptUsage`."""

    cached_tokens: int | None = None


class PromptUsage(msgspec.Struct):
    """What the call consumed, in tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: CachedTokens | None = None


class Chunk(msgspec.Struct):
    """One event of the stream; LiteLLM's own chunks have the same attributes."""

    choices: list[Choice] = []
    usage: PromptUsage | None = None
    error: dict[str, Any] | str | None = None


_CHUNK: Final = msgspec.json.Decoder(Chunk)


class ChunkStream:
    """The answer's events as they come; has what LiteLLM expects of a raw response."""

    is_ours: Final = True

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._ended = False
        self.headers: Mapping[str, str] = response.headers

    def parse(self) -> "ChunkStream":
        """Return itself: nothing is parsed ahead."""
        return self

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """Yield chunks up to `[DONE]` or the end.

        Raises:
            ProviderFault: the server reported an error, broke off or sent no chunk.
        """
        rest = b""
        try:
            async for data in self._response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if not line.startswith(b"data:"):
                        continue  # a comment, an empty line, an event name
                    if (event := line[5:].strip()) == b"[DONE]":
                        self._ended = True
                        return
                    yield _decode(event)
        except aiohttp.ClientError as error:
            raise ProviderFault("the connection broke off") from error

    async def aclose(self) -> None:
        """Give the connection back when the body has ended, else close it."""
        if self._ended:
            with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(TAIL_S):
                    await self._response.content.read()
        self._response.release()  # closes the connection unless the body was read to its end


class OpenAIClient:
    """Asks one server, with one key, over connections that are kept for the next call."""

    def __init__(self, *, base_url: str, key: str) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            # A proxy of the environment is for the world outside.
            trust_env=urlsplit(base_url).hostname not in LOOPBACK,
        )
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.chat = SimpleNamespace(completions=SimpleNamespace(with_raw_response=self))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def create(
        self,
        *,
        timeout: object = None,  # noqa: ARG002, ASYNC109 - LiteLLM passes it; the model keeps time
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, object] | None = None,
        **body: object,
    ) -> ChunkStream:
        """Send a request and return its stream once the server has accepted it.

        Raises:
            ProviderFault: the server refused the request or could not be reached.
        """
        data = msgspec.json.encode({**body, **(extra_body or {})})
        headers = {**self._headers, **(extra_headers or {})}
        try:
            response = await self._session.post(self._url, data=data, headers=headers)
            if response.status < 400:  # the first status that is an error
                return ChunkStream(response)
            async with response:
                text = (await response.content.read(ERROR_BYTES)).decode(errors="replace")
        except aiohttp.ClientError as error:
            raise ProviderFault(f"not reachable ({type(error).__name__})") from error
        raise ProviderFault.of_response(response.status, text, response.headers)


def _decode(event: bytes) -> Chunk:
    try:
        chunk = _CHUNK.decode(event)
    except msgspec.DecodeError as error:
        raise ProviderFault("it sent something that is not a chat completion") from error
    if chunk.error is not None:
        raise ProviderFault.of_error(chunk.error)
    return chunk
