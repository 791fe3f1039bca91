"""Port to what turns texts into vectors, so that things can be found by meaning."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from services.errors import Transient

Vector: TypeAlias = Sequence[float]
"""Of length one, so that a dot product is the cosine similarity."""


class EmbedderUnavailable(Transient):
    """There are no vectors now: whoever searches goes on with words alone.

    `fix` is what a person can do about it, None where it is only a matter of time.
    """

    def __init__(self, detail: str, *, fix: str | None = None) -> None:
        super().__init__(detail)
        self.fix = fix


class Embedder(Protocol):
    """Turns texts into vectors; the same text always gives the same one."""

    @property
    def model(self) -> str:
        """Return the model's name, for ever the same for the same vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """Return how many numbers a vector has; 0 until the first one was made."""
        ...

    @property
    def standing(self) -> str:
        """Say in a sentence whether there are vectors, and what to do if there are none."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector for each text, in order, without blocking the event loop.

        Raises:
            EmbedderUnavailable: there are none now.
        """
        ...
