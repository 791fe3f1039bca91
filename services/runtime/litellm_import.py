"""Importing LiteLLM: late, quiet, and without what it would do behind our back.

The import takes seconds and 150 MB, so only a process that calls a provider does it.
"""

import asyncio
import gc
import importlib
import logging
import os
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any, Final

REPETITIONS: Final = 2_000  # equal pieces in a row; LiteLLM's 100 breaks off long rules and tables


def load() -> ModuleType:
    """Import LiteLLM, switch off its own logging and retries, and run its slow first call.

    Blocks for seconds: call it in a thread.
    """
    environment = os.environ  # noqa: TID251 - LiteLLM reads these while it is imported
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it downloads prices
    environment["LITELLM_MODE"] = "PRODUCTION"  # else it reads a .env file into our environment
    litellm: Any = importlib.import_module("litellm")
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")  # of its Responses
    litellm.telemetry = False
    litellm.suppress_debug_info = True  # it prints advice on every failure
    litellm.turn_off_message_logging = True
    litellm.drop_params = True
    litellm.utils.update_response_metadata = _nothing  # prices a stream before its first chunk
    litellm.REPEATED_STREAMING_CHUNK_LIMIT = REPETITIONS
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).disabled = True  # its lines carry prompts
    asyncio.run(_rehearse(litellm))
    gc.freeze()  # else each full collection walks its 300,000 objects: a pause of 0.13 s
    module: ModuleType = litellm
    return module


def _nothing(**_: object) -> None:
    """Stand in for what takes LiteLLM 0.8 ms of every call and serves nobody here."""


def openai_client(url: str, key: str) -> Any:  # noqa: ANN401 - imported only here, for its weight
    """Return our client of one OpenAI-compatible server."""
    from services.runtime.openai_client import OpenAIClient  # noqa: PLC0415 - imports aiohttp

    return OpenAIClient(base_url=url, key=key)


async def _rehearse(litellm: ModuleType) -> None:
    """Make two calls that go nowhere: the first of each kind takes 0.3 s of imports and caches."""

    async def create(**_: object) -> SimpleNamespace:
        return SimpleNamespace(headers={}, parse=lambda: None)

    completions = SimpleNamespace(with_raw_response=SimpleNamespace(create=create))
    arguments = {
        "model": "openai/rehearsal",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "api_key": "none",
        "api_base": "http://127.0.0.1:9/v1",
    }
    client = SimpleNamespace(chat=SimpleNamespace(completions=completions))
    await litellm.acompletion(**arguments, client=client)
    async for _ in await litellm.acompletion(**arguments, mock_response="hello"):
        break
