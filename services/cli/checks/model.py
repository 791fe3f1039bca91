"""The model: which one is used and why, whether its key is there, whether it can be called."""

import asyncio
from collections.abc import AsyncIterator

from services.cli.checks.finding import Finding, fail, ok, warn
from services.runtime import litellm_import
from services.runtime.config import Config
from services.runtime.model_choice import OFFLINE_MODEL, Choice, detect
from services.runtime.process import configured_keys
from services.runtime.secret import Secret

KEYED = ("anthropic", "openai", "openrouter", "gemini")


async def model(config: Config) -> AsyncIterator[Finding]:
    """Yield what there is to say about the model."""
    keys = configured_keys(config)
    choice = await detect(keys, config.models.ollama_url, config.model)
    if choice.model == OFFLINE_MODEL:
        text = "offline/rules: simple rules, no language model"
        yield warn("model", text, "Set a provider's key, for example ANTHROPIC_API_KEY.")
        return
    yield ok("model", choice.why)
    yield _key(config, choice, keys)
    yield await _litellm()


def _key(config: Config, choice: Choice, keys: dict[str, Secret]) -> Finding:
    if choice.provider in keys:
        return ok("model key", f"a key for {choice.provider} is set")
    if choice.provider not in KEYED or (choice.provider == "openai" and config.models.api_base):
        return ok("model key", f"none is needed for {choice.provider} here")
    variable = f"{choice.provider.upper()}_API_KEY"
    return fail("model key", f"none for {choice.provider}", f"Set {variable}.")


async def _litellm() -> Finding:
    try:
        await asyncio.to_thread(litellm_import.load)
    except ImportError as error:
        return fail("litellm", f"cannot be imported: {error}", "Run `make clean up`.")
    return ok("litellm", "can be imported")
