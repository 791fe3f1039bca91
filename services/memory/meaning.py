"""What a question means, for whoever recalls: soon, or not at all."""

import asyncio
from typing import Final

import structlog

from projections.memories import Meaning
from services.runtime.embedding import Embedder, EmbedderUnavailable

PATIENCE_S: Final = (
    5.0  # the first question waits for the model to be loaded; somebody waits for us
)

log = structlog.get_logger()


async def meaning(
    embedder: Embedder | None, text: str, *, patience_s: float = PATIENCE_S
) -> Meaning | None:
    """Return a text's vector; None where there is none, and recall goes on without."""
    if embedder is None or not text.strip():
        return None
    try:
        async with asyncio.timeout(patience_s):
            (vector,) = await embedder.embed([text])
    except (EmbedderUnavailable, TimeoutError) as error:
        log.debug("recall.without_meaning", reason=str(error))
        return None
    return Meaning(embedder.model, vector)
