"""Recall: whether memories are found by meaning, and if not, how they could be."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from services.cli.checks.finding import Finding, ok, warn
from services.runtime.clock import Clock
from services.runtime.config import Config
from services.runtime.embedding import EmbedderUnavailable
from services.runtime.model_folder import FETCH, is_fetched
from services.runtime.process import embedder

HUB: Final = "huggingface.co"
HUB_S: Final = 3.0  # that the hub may take to answer
NAME: Final = "recall"
WITHOUT: Final = "memories are found by words and links alone"


async def recall(config: Config, clock: Clock) -> AsyncIterator[Finding]:
    """Yield what there is to say about the embedding model; it is loaded to see that it works."""
    settings = config.embeddings
    fetched = is_fetched(settings.model, config.data_dir / "models")
    if settings.path is None and settings.fetch and not fetched:
        if await _reaches_hub():
            yield ok(NAME, f"{settings.model} is fetched when the first memory is saved")
        else:
            text = f"{WITHOUT}: {settings.model} is not here, and {HUB} cannot be reached"
            yield warn(NAME, text, FETCH)
        return
    here = embedder(config, clock)
    try:
        await here.embed(["does it work?"])
    except EmbedderUnavailable as error:
        yield warn(NAME, f"{WITHOUT}: {error}", error.fix or FETCH)
    else:
        yield ok(NAME, f"{here.model}, {here.dimensions} dimensions")


async def _reaches_hub() -> bool:
    try:
        async with asyncio.timeout(HUB_S):
            _, writer = await asyncio.open_connection(HUB, 443)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
