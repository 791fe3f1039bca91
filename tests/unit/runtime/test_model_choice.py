"""With nothing configured, the best model that is there is chosen, and the reason is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic

import msgspec

from services.runtime.model_choice import DEFAULT_MODELS, Choice, detect
from services.runtime.secret import Secret

NOBODY = "http://127.0.0.1:9"  # the discard port; nothing listens there


@contextlib.asynccontextmanager
async def ollama(answers: dict[str, object] | None) -> AsyncIterator[str]:
    """Run an Ollama with an answer for each `METHOD path`, or one that never answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        body = ""
        if "content-length: " in head.lower():
            size = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            body = msgspec.json.decode(await reader.readexactly(size))["model"]
        if answers is None:
            await reader.read()
        else:
            raw = msgspec.json.encode(answers.get(f"{method} {path} {body}".strip(), {}))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def test_what_a_person_sets_wins():
    choice = await detect({"anthropic": Secret("k")}, NOBODY, "openai/mine")
    assert choice == Choice("openai/mine", "openai", "Using openai/mine, as configured.")


async def test_keys_count_in_a_fixed_order():
    keys = {name: Secret("k") for name in ("gemini", "openrouter", "openai", "anthropic")}
    chosen = []
    while keys:
        choice = await detect(keys, NOBODY, None)
        chosen.append(choice.provider)
        assert choice.model == DEFAULT_MODELS[choice.provider]
        assert f"a key for {choice.provider} is set" in choice.why
        del keys[choice.provider]
    assert chosen == ["anthropic", "openai", "openrouter", "gemini"]


async def test_an_empty_key_is_no_key():
    assert (await detect({"openai": Secret(" ")}, NOBODY, None)).provider == "offline"


async def test_no_key_appears_in_the_reason():
    choice = await detect({"openai": Secret("sk-very-secret")}, NOBODY, None)
    assert "secret" not in repr(choice)


async def test_without_anything_the_rules_are_chosen_and_said():
    choice = await detect({}, NOBODY, None)
    assert choice.model == "offline/rules"
    assert "simple rules, no language model" in choice.why
    assert "ANTHROPIC_API_KEY" in choice.why


async def test_ollama_is_found_and_a_model_with_tools_preferred():
    answers = {
        "GET /api/tags": {"models": [{"name": "embed:1"}, {"name": "qwen:8b"}]},
        "POST /api/show embed:1": {"capabilities": ["embedding"]},
        "POST /api/show qwen:8b": {"capabilities": ["completion", "tools"]},
    }
    async with ollama(answers) as url:
        choice = await detect({}, url, None)
    assert choice.model == "ollama/qwen:8b"
    assert url in choice.why


async def test_capabilities_in_the_list_are_enough():
    models = [
        {"name": "a", "capabilities": ["completion"]},
        {"name": "b", "capabilities": ["tools"]},
    ]
    async with ollama({"GET /api/tags": {"models": models}}) as url:
        assert (await detect({}, url, None)).model == "ollama/b"


async def test_the_first_model_is_taken_where_none_has_tools():
    answers = {"GET /api/tags": {"models": [{"name": "old:1"}, {"name": "old:2"}]}}
    async with ollama(answers) as url:
        assert (await detect({}, url, None)).model == "ollama/old:1"


async def test_an_ollama_without_models_is_no_choice():
    async with ollama({"GET /api/tags": {"models": []}}) as url:
        assert (await detect({}, url, None)).provider == "offline"


async def test_what_answers_something_else_is_no_ollama():
    async with ollama({"GET /api/tags": ["hello"]}) as url:
        assert (await detect({}, url, None)).provider == "offline"


async def test_a_server_that_never_answers_is_not_waited_for():
    async with ollama(None) as url:
        started = monotonic()
        assert (await detect({}, url, None)).provider == "offline"
        assert monotonic() - started < 1.0
