"""Models of every provider that LiteLLM knows, streamed, with one failure for each kind of cause.

LiteLLM is imported when it is first needed: that takes seconds and 150 MB of memory.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any, Final, TypeAlias

from services.errors import ModelRefused, ModelUnavailable
from services.runtime import litellm_import, litellm_request
from services.runtime.answer_draft import AnswerDraft
from services.runtime.cancelling import end
from services.runtime.model import ModelAnswer, ModelRequest, OnDelta
from services.runtime.model_access import Access, Route, route
from services.runtime.model_faults import ProviderFault, translate
from services.runtime.model_prices import PriceList

GEMINI: Final = frozenset({"gemini", "vertex_ai", "vertex_ai_beta"})  # as LiteLLM calls them
GRACE_S: Final = 0.2  # LiteLLM prepares a request in a thread and must not be cancelled meanwhile

Json = dict[str, Any]
AnyStream: TypeAlias = Any  # LiteLLM is untyped here: its stubs would take mypy minutes
AnyUsage: TypeAlias = Any  # tokens as the provider counts them, in LiteLLM's shape or ours


class LiteLLMModel:
    """Answers through LiteLLM; one instance serves a whole process."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._secrets = tuple(key.reveal() for key in access.keys.values())
        self._litellm: ModuleType | None = None
        self._loading = asyncio.Lock()
        self._clients: dict[str, Any] = {}
        self._begun: set[asyncio.Task[Any]] = set()
        self._prices = PriceList()

    async def warm(self) -> ModuleType:
        """Import LiteLLM, in a thread, so that the first call need not wait for it."""
        async with self._loading:
            if self._litellm is None:
                self._litellm = await asyncio.to_thread(litellm_import.load)
            return self._litellm

    async def aclose(self) -> None:
        """Drop what is still under way and close every connection."""
        if self._begun:
            await asyncio.wait(self._begun, timeout=2 * GRACE_S)
        await end(*self._begun)
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()
        if self._litellm is not None:
            await self._litellm.close_litellm_async_clients()

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelAnswer:
        """Return the whole answer, passing deltas on as they come.

        Raises:
            ModelUnavailable: overloaded, rate limited, unreachable, silent, cut off or empty.
            ModelRefused: bad or no key, unknown model, no quota: asking again cannot help.
            ContextOverflow: the request does not fit into the model's window.
        """
        way = route(self._access, request.model)
        arguments = litellm_request.arguments(request, raw_tools=way.is_plain) | self._to(way)
        litellm = self._litellm or await self.warm()
        draft = AnswerDraft.of(request, on_delta)
        started = perf_counter()
        try:
            async with asyncio.timeout(self._access.total_s):
                counted = await self._stream(litellm, arguments, draft)
        except TimeoutError as error:
            raise ModelUnavailable(f"{request.model} did not answer in time") from error
        except Exception as error:  # LiteLLM lets through whatever its providers' code raises
            raise translate(error, request.model, secrets=self._secrets) from error
        if draft.is_empty:
            raise _empty(request.model, draft.finish)
        return ModelAnswer(
            model=request.model,
            text="".join(draft.text),
            tool_calls=draft.tool_calls(),
            usage=self._prices.usage(litellm, request.model, counted),
            finish=draft.finish,
            latency_ms=round((perf_counter() - started) * 1_000),
        )

    async def most_usd(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """Return dollars that a call may cost at most; None when the price is not known."""
        litellm = self._litellm or await self.warm()
        return self._prices.most(litellm, model, input_tokens, output_tokens)

    def _to(self, way: Route) -> Json:
        """Return LiteLLM's arguments that say where, and switch off what we do better."""
        where: Json = {"model": way.model, "timeout": self._access.total_s}
        if way.base is not None:
            where["api_base"] = way.base
        if way.key is not None:
            where["api_key"] = way.key.reveal()
        if way.is_plain:
            where["client"] = self._client(where["api_base"], where["api_key"])
        # The last of these would import a package that LiteLLM does not depend on.
        return where | {"max_retries": 0, "num_retries": 0, "_skip_mcp_handler": True}

    def _client(self, url: str, key: str) -> object:
        if url not in self._clients:
            self._clients[url] = litellm_import.openai_client(url, key)
        return self._clients[url]

    async def _stream(self, litellm: ModuleType, arguments: Json, draft: AnswerDraft) -> AnyUsage:
        """Fill `draft` and return the provider's own count of tokens, or None."""
        counted = None
        silence = self._access.silence_s
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(silence) as alarm:
            response = await self._begin(litellm, arguments)
            chunks = _chunks(response)
            try:
                ended = await _watch(response)
                async for chunk in chunks:
                    alarm.reschedule(loop.time() + silence)
                    draft.add(chunk.choices)
                    counted = getattr(chunk, "usage", None) or counted
                    if counted and draft.finish and chunks is response:
                        break  # what follows is LiteLLM's bookkeeping: a third of a call's cost
            finally:
                await chunks.aclose()
        if not draft.finish or not ended():
            raise ProviderFault("the answer broke off")
        return counted

    async def _begin(self, litellm: ModuleType, arguments: Json) -> AnyStream:
        """Send the request; when we are cancelled, let go of it as soon as LiteLLM can stand it."""
        task = asyncio.create_task(litellm.acompletion(**arguments))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(GRACE_S, task.cancel)
            task.add_done_callback(self._abandon)
            raise

    def _abandon(self, task: asyncio.Task[AnyStream]) -> None:
        if task.cancelled() or task.exception() is not None:
            return
        closing = asyncio.ensure_future(_chunks(task.result()).aclose())
        self._begun.add(closing)
        closing.add_done_callback(self._begun.discard)


def _chunks(response: AnyStream) -> AnyStream:
    """Return the stream itself: the chunks of our own client as they are, others LiteLLM's way."""
    inner = response.completion_stream
    return inner if getattr(inner, "is_ours", False) else response


async def _watch(response: AnyStream) -> Callable[[], bool]:
    """Return what tells whether the provider itself said that its answer is whole.

    LiteLLM makes a finish reason up for a stream that ends early, and gives one to every chunk of
    Gemini's, so there the provider's own words are looked at.
    """
    if _chunks(response) is not response:
        return lambda: True
    if response.custom_llm_provider not in GEMINI:
        return lambda: bool(response.received_finish_reason or response.intermittent_finish_reason)
    stream = await response.fetch_stream()  # LiteLLM would send the request with the first chunk
    parse = stream.chunk_parser
    said: list[str] = []

    def listen(chunk: Json) -> object:
        said.extend(x["finishReason"] for x in chunk.get("candidates", ()) if x.get("finishReason"))
        said.extend(chunk.get("promptFeedback", {}).get("blockReason", "").split())
        return parse(chunk)

    stream.chunk_parser = listen
    return lambda: bool(said)


def _empty(model: str, finish: str) -> ModelUnavailable | ModelRefused:
    if finish == "content_filter":
        return ModelRefused(f"{model} may not answer this: its provider's filter stopped it")
    return ModelUnavailable(f"{model} gave an empty answer ({finish})")
