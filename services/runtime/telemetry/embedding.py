"""An embedder that tells how long it takes."""

from collections.abc import Sequence
from typing import Final

from services.runtime.embedding import Embedder, Vector
from services.runtime.telemetry import names
from services.runtime.telemetry.live import LIVE, operation
from services.runtime.telemetry.span import Value

PROVIDER: Final = "fastembed"


class MeasuredEmbedder:
    """Passes everything on, and tells of it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def model(self) -> str:
        """Return the model's name."""
        return self._embedder.model

    @property
    def dimensions(self) -> int:
        """Return how many numbers a vector has; 0 until the first one was made."""
        return self._embedder.dimensions

    @property
    def standing(self) -> str:
        """Say in a sentence whether there are vectors, and what to do if there are none."""
        return self._embedder.standing

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector for each text; see the port."""
        attributes: dict[str, Value] = {
            names.PROVIDER: PROVIDER,
            names.REQUEST_MODEL: self.model,
            names.TEXTS: len(texts),
        }
        with operation(names.EMBEDDINGS, self.model, attributes=attributes) as told:
            vectors = await self._embedder.embed(texts)
            told[names.DIMENSIONS] = self.dimensions
        return vectors


def measured(embedder: Embedder) -> Embedder:
    """Return `embedder`, measured where somebody asked for that."""
    return embedder if LIVE.recorder is None else MeasuredEmbedder(embedder)
