"""Where each provider's models are, and with which key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from services.errors import ModelRefused
from services.runtime.secret import Secret

KEYS: Final = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
"""Providers whose keys we hold, and the variables in which people set them."""

DEFAULT_BASES: Final = {
    "openai": "https://api.openai.com/v1",
    "ollama": "http://127.0.0.1:11434",
}
NO_KEY: Final = "none"  # for servers of one's own, which want the header but check no key


@dataclass(frozen=True, slots=True)
class Access:
    """How providers are reached."""

    keys: Mapping[str, Secret] = field(default_factory=dict)
    """By provider, for example `anthropic`."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """By provider, where it is not at its own address: `openai` up to and including `/v1`,
    `ollama` and `anthropic` without a path."""
    total_s: float = 120.0
    """Limit of one call."""
    silence_s: float = 60.0
    """Limit of one silence in it: before the first piece, or between two."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way to one model."""

    model: str
    """As LiteLLM calls it."""
    base: str | None
    """None where LiteLLM knows it."""
    key: Secret | None
    """None where LiteLLM finds it by itself, as for cloud accounts."""
    is_plain: bool
    """Whether it speaks OpenAI's chat completions, so that our own client can be used."""


def route(access: Access, model: str) -> Route:
    """Return the way to `model`, given as `provider/name`.

    Raises:
        ModelRefused: there is no key for it.
    """
    provider, _, name = model.partition("/")
    key = access.keys.get(provider)
    base = access.bases.get(provider, DEFAULT_BASES.get(provider))
    base = base.rstrip("/") if base else None
    if provider == "ollama":
        return Route(f"openai/{name}", f"{base}/v1", Secret(NO_KEY), is_plain=True)
    if provider == "openai" and base and not _needs_responses(base, name):
        return Route(model, base, key or Secret(NO_KEY), is_plain=True)
    if key is None and provider in KEYS:
        raise ModelRefused(f"there is no key for {provider}: set {KEYS[provider]}")
    return Route(model, base, key, is_plain=False)


def _needs_responses(base: str, name: str) -> bool:
    """Whether LiteLLM itself must choose the route: newer models call tools over Responses only."""
    return name.startswith("responses/") or (urlsplit(base).hostname or "").endswith("openai.com")
