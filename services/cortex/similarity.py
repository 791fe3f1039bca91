"""How much memories have in common: by their vectors where there are any, else by their words."""

import re
from collections.abc import Sequence
from typing import Final

from projections.memories import Hit, Meaning
from services.memory.meaning import meaning
from services.runtime.embedding import Embedder, EmbedderUnavailable, Vector

_WORD: Final = re.compile(r"\w+")
SHORT: Final = 3  # characters; shorter words say little
PATIENCE_S: Final = 60.0  # nobody waits for a link, so a model may take its time to load


class Similarity:
    """Compares memories; without an embedder, or while it has no vectors, by their words."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder

    async def meaning(self, text: str) -> Meaning | None:
        """Return a text's vector, or None where there is none."""
        return await meaning(self._embedder, text, patience_s=PATIENCE_S)

    async def weights(self, text: str, meant: Meaning | None, others: Sequence[Hit]) -> list[float]:
        """Return how much a text has in common with each of the others, from 0 to 1.

        Args:
            text: The text.
            meant: Its vector; None to go by words.
            others: What was found by that vector, or by those words.
        """
        texts = [other.text if isinstance(other.text, str) else "" for other in others]
        if meant is None or self._embedder is None:
            return [dice(text, each) for each in texts]
        new = [each for each, hit in zip(texts, others, strict=True) if hit.vector_score is None]
        try:
            vectors = iter(await self._embedder.embed(new) if new else ())
        except EmbedderUnavailable:
            return [dice(text, each) for each in texts]
        return [
            _share(
                cosine(meant.vector, next(vectors))
                if hit.vector_score is None
                else hit.vector_score
            )
            for hit in others
        ]


def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of two vectors of length one."""
    return float(sum(x * y for x, y in zip(one, other, strict=True)))


def dice(one: str, other: str) -> float:
    """Return the share of words that two texts have in common, from 0 to 1."""
    first, second = _words(one), _words(other)
    if not first or not second:
        return 0.0
    return 2 * len(first & second) / (len(first) + len(second))


def _words(text: str) -> frozenset[str]:
    found = frozenset(_WORD.findall(text.lower()))
    return frozenset(word for word in found if len(word) > SHORT or word.isdigit()) or found


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
