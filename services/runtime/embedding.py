"""Port to what turns texts into vectors, so that things can be found by meaning."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

Vector: TypeAlias = Sequence[float]
"""Of length one, so that a dot product is the cosine similarity."""


class Embedder(Protocol):
    """Turns texts into vectors; the same text always gives the same one."""

    @property
    def model(self) -> str:
        """Return the model's name, for ever the same for the same vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """Return how many numbers a vector has."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector for each text, in order, without blocking the event loop."""
        ...
