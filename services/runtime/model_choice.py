"""Which model to use when nobody said: the first provider with a key, else Ollama, else rules."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

import msgspec

from services.runtime.secret import Secret

DEFAULT_MODELS: Final = {
    "anthropic": "anthropic/claude-sonnet-5-5",
    "openai": "openai/gpt-6.1-sol",
    "openrouter": "openrouter/anthropic/claude-sonnet-5.5",
    "gemini": "gemini/gemini-3.8-flash",
}
"""The middle of each provider's range, as of November 2026; in the order in which keys count."""

OFFLINE_MODEL: Final = "offline/rules"
PROBE_S: Final = 0.3  # a local Ollama answers in milliseconds; the start waits for this
ANSWER_BYTES: Final = 4_000_000  # of a model list, at most


@dataclass(frozen=True, slots=True)
class Choice:
    """A model and the reason for it."""

    model: str
    """`provider/name`."""
    provider: str
    why: str
    """One sentence for the start banner."""


class Installed(msgspec.Struct, frozen=True):
    """A model that Ollama has."""

    name: str
    capabilities: tuple[str, ...] | None = None
    """For example `completion`, `tools`, `embedding`; None where the list does not say."""


class Tags(msgspec.Struct, frozen=True):
    """The answer of `GET /api/tags`."""

    models: tuple[Installed, ...] = ()


class Shown(msgspec.Struct, frozen=True):
    """The part of the answer of `POST /api/show` that we need."""

    capabilities: tuple[str, ...] = ()


async def detect(keys: Mapping[str, Secret], ollama_url: str, override: str | None) -> Choice:
    """Choose a model; takes 0.6 s at most, and only where nothing is configured.

    Args:
        keys: By provider; an empty one counts as none.
        ollama_url: Where Ollama would be.
        override: `provider/name` as a person has set it, which always wins.
    """
    if override:
        provider = override.partition("/")[0]
        return Choice(override, provider, f"Using {override}, as configured.")
    for provider, model in DEFAULT_MODELS.items():
        if provider in keys and keys[provider].reveal().strip():
            why = f"Using {model}, because a key for {provider} is set."
            return Choice(model, provider, why)
    if name := await _of_ollama(ollama_url):
        why = f"Using ollama/{name}, because Ollama runs at {ollama_url} and no key is set."
        return Choice(f"ollama/{name}", "ollama", why)
    return Choice(
        OFFLINE_MODEL,
        "offline",
        "Using the built-in offline model: simple rules, no language model. For a real one set "
        "ANTHROPIC_API_KEY, OPENAI_API_KEY, OPENROUTER_API_KEY or GEMINI_API_KEY, or run Ollama.",
    )


async def _of_ollama(url: str) -> str | None:
    """Return an installed model, one that can call tools if any can; None without Ollama."""
    try:
        async with asyncio.timeout(PROBE_S):
            raw = await asyncio.to_thread(_ask, url, "GET", "/api/tags")
        models = msgspec.json.decode(raw, type=Tags).models
    except (OSError, HTTPException, msgspec.DecodeError):  # TimeoutError is an OSError
        return None
    try:
        async with asyncio.timeout(PROBE_S):
            for model in models:
                if "tools" in await _capabilities(url, model):
                    return model.name
    except (OSError, HTTPException, msgspec.DecodeError):
        pass  # it is there but does not say what its models can do
    return models[0].name if models else None


async def _capabilities(url: str, model: Installed) -> tuple[str, ...]:
    if model.capabilities is not None:
        return model.capabilities
    body = msgspec.json.encode({"model": model.name})
    raw = await asyncio.to_thread(_ask, url, "POST", "/api/show", body)
    return msgspec.json.decode(raw, type=Shown).capabilities


def _ask(url: str, method: str, path: str, body: bytes | None = None) -> bytes:
    """Return the body of one answer; `http.client`, because the start imports nothing heavier.

    Raises:
        OSError: nobody answers in time.
        HTTPException: what answers does not speak HTTP, or refuses.
    """
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PROBE_S)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body=body)
        response = connection.getresponse()
        if response.status != 200:
            raise HTTPException(response.status)
        return response.read(ANSWER_BYTES)
    finally:
        connection.close()
